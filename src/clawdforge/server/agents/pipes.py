"""A child's pipes: what it writes is read so that one that floods waits itself, what it is told is not copied.

Knows bytes and time; must not know what is said. Each owns the end that it is given, and closes it.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import IO, Final

_MOMENT_S: Final = 0.0003
_FIRST_BYTES: Final = 8 * 1024
_LEAST_BYTES: Final = 1024
_MOST_BYTES: Final = 64 * 1024
"""What a pipe holds, unless somebody enlarges it."""
_ROUNDS_OFF: Final = 8
_PIPE_LIMIT_BYTES: Final = 1024 * 1024
_STDERR_KEPT_BYTES: Final = 16 * 1024
_STDERR_REST_S: Final = 0.01
_NEWLINE: Final = memoryview(b"\n")
_PIECES_AT_ONCE: Final = 1000
"""As many as Linux takes in one call, or nearly."""


class Stdin:
    """Takes lines for a child and writes them as fast as it reads.

    Attributes:
        unsent_bytes: so much waits for it.

    Args:
        pipe: the writing end.
    """

    def __init__(self, pipe: IO[bytes]) -> None:
        os.set_blocking(pipe.fileno(), False)
        self.unsent_bytes: int = 0
        self._pipe = pipe
        self._unsent: deque[memoryview] = deque()
        self._ending = False
        self._loop = asyncio.get_running_loop()

    def write(self, lines: Sequence[bytes]) -> None:
        """Takes lines, each without its newline; they go nowhere once it was closed, or where nobody reads."""
        if self._ending:
            return
        waiting = bool(self._unsent)
        if waiting and lines:
            lines = [b"\n".join(lines)]  # short ones, each by itself, would take four times as much as they hold
        for line in lines:
            self._unsent += (memoryview(line), _NEWLINE)
            self.unsent_bytes += len(line) + 1
        if not waiting:
            self._write()
            if self._unsent:
                self._loop.add_writer(self._pipe, self._go_on)

    def close(self) -> None:
        """Takes nothing more; the child sees the end once it has read what was taken before."""
        self._ending = True
        if not self._unsent:
            self._pipe.close()

    def abort(self) -> None:
        """Takes nothing more, and writes nothing more."""
        self._ending = True
        self._unsent.clear()
        self.unsent_bytes = 0
        if not self._pipe.closed:
            self._loop.remove_writer(self._pipe)
            self._pipe.close()

    def _go_on(self) -> None:
        self._write()
        if not self._unsent and not self._pipe.closed:
            self._loop.remove_writer(self._pipe)
            if self._ending:
                self._pipe.close()

    def _write(self) -> None:
        try:
            written = os.writev(self._pipe.fileno(), [*islice(self._unsent, _PIECES_AT_ONCE)])
        except BlockingIOError:
            return
        except OSError:  # nobody is there to read it any more
            self.abort()
            return
        self.unsent_bytes -= written
        while written:
            piece = self._unsent.popleft()
            if len(piece) > written:
                self._unsent.appendleft(piece[written:])
            written -= min(written, len(piece))


class Stdout:
    """Hands on what a child says, in bites, until its end; paused at first.

    A bite is as large as can be dealt with in a moment of the loop's time. After one that had more behind it, or
    took longer, the loop goes some rounds for others alone: a turn is a dozen of them, and each would wait for a
    bite of whoever floods.

    Attributes:
        ended: is set once nothing more will come.

    Args:
        pipe: the reading end.
        on_bite: gets each piece.
        on_end: hears that the child has closed its end; not where `close` came first.
    """

    def __init__(self, pipe: IO[bytes], on_bite: Callable[[bytes], None], on_end: Callable[[], None]) -> None:
        os.set_blocking(pipe.fileno(), False)
        self.ended: asyncio.Event = asyncio.Event()
        self._pipe = pipe
        self._on_bite = on_bite
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._bite_bytes = _FIRST_BYTES
        self._rounds_off = 0
        self._draining = False

    def resume(self) -> None:
        """Reads on."""
        if not self._pipe.closed:
            self._loop.add_reader(self._pipe, self._ready)

    def pause(self) -> None:
        """Reads nothing until `resume`: the child waits when its pipe is full."""
        if not self._draining and not self._pipe.closed:
            self._loop.remove_reader(self._pipe)

    def drain(self) -> None:
        """Reads on to the end, paused or not, and leaves no round out.

        For a child that has ended: it can flood nobody any more, and what it left is no more than a pipe holds.
        """
        self._draining = True
        self._bite_bytes = _FIRST_BYTES
        self._rounds_off = 0
        self.resume()

    def close(self) -> None:
        """Reads nothing more. What was not read is lost."""
        if not self._pipe.closed:
            self._loop.remove_reader(self._pipe)
            self._pipe.close()
        self.ended.set()

    def _ready(self) -> None:
        if self._rounds_off:
            self._rounds_off -= 1
            return
        bite = self._pipe.read(self._bite_bytes)
        if bite:
            self._hand_on(bite)
        elif bite is not None:  # as it is where there was nothing after all
            self.close()
            self._on_end()

    def _hand_on(self, bite: bytes) -> None:
        began_s = time.thread_time()
        self._on_bite(bite)
        if self._draining:
            return
        if time.thread_time() - began_s > _MOMENT_S:
            self._bite_bytes = max(_LEAST_BYTES, self._bite_bytes // 2)
            self._rounds_off = _ROUNDS_OFF
        elif len(bite) == self._bite_bytes:
            self._bite_bytes = min(2 * self._bite_bytes, _MOST_BYTES)
            self._rounds_off = _ROUNDS_OFF


class Stderr:
    """Keeps the last of what a child writes to stderr.

    It is read some times a second at most: who floods it waits, for it is read by nobody unless the child fails.
    """

    def __init__(self, pipe: IO[bytes]) -> None:
        os.set_blocking(pipe.fileno(), False)
        self._pipe = pipe
        self._kept = b""
        self._loop = asyncio.get_running_loop()
        self._rest: asyncio.TimerHandle | None = None
        self._listen()

    def tail(self) -> bytes:
        """The last kilobytes of what was written until now."""
        self._read()
        return self._kept

    def close(self) -> None:
        """Keeps what was written until now, and reads nothing more."""
        self._read()
        self._end()

    def _listen(self) -> None:
        self._rest = None
        self._loop.add_reader(self._pipe, self._ready)

    def _ready(self) -> None:
        self._read()
        if not self._pipe.closed:
            self._loop.remove_reader(self._pipe)
            self._rest = self._loop.call_later(_STDERR_REST_S, self._listen)

    def _read(self) -> None:
        if self._pipe.closed:
            return
        new = self._pipe.read(_PIPE_LIMIT_BYTES)
        if new:
            self._kept = (self._kept + new)[-_STDERR_KEPT_BYTES:]
        elif new is not None:
            self._end()

    def _end(self) -> None:
        if self._rest is not None:
            self._rest.cancel()
        if not self._pipe.closed:
            self._loop.remove_reader(self._pipe)
            self._pipe.close()
