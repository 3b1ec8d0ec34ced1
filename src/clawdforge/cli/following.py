"""A stream that is read in a thread of its own, so that whoever watches it can look at the keyboard meanwhile.

What comes, and each Ctrl-C, stand in one line: one thread draws, asks and answers, and nothing is cut in mid step.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Final, Generic, Protocol, Self, TypeAlias, TypeVar

from clawdforge.client.events import Event
from clawdforge.errors import ForgeError

_LOG: Final = logging.getLogger("clawdforge")
_AHEAD: Final = 1_000
"""How many events may wait to be looked at; while there are so many, no more are read."""


class Stream(Protocol):
    """What is read: the events of a turn or a run."""

    def __iter__(self) -> Iterator[Event]: ...
    def answer(self, permission_id: str, *, option_id: str) -> object: ...
    def cancel(self) -> bool: ...
    def close(self) -> None: ...


S = TypeVar("S", bound=Stream)


@dataclass(frozen=True, slots=True)
class CtrlC:
    """Somebody pressed Ctrl-C."""


@dataclass(frozen=True, slots=True)
class CancelFailed:
    """The gateway could not be told to cancel."""

    error: ForgeError


@dataclass(frozen=True, slots=True)
class Warned:
    """The SDK has something to say: that the connection was cut, for one."""

    text: str


@dataclass(frozen=True, slots=True)
class Ended(Generic[S]):
    """The last that comes: the stream has been read to its end, or could not be opened or read on."""

    stream: S | None = None
    error: BaseException | None = None


Item: TypeAlias = Event | CtrlC | CancelFailed | Warned | Ended[S]


class _Warnings(logging.Handler):
    """Puts the SDK's warnings in line with all else that comes."""

    def __init__(self, coming: SimpleQueue[Any]) -> None:
        super().__init__(logging.WARNING)
        self._coming = coming

    def emit(self, record: logging.LogRecord) -> None:
        self._coming.put(Warned(record.getMessage()))


class Following(Generic[S]):
    """Opens a stream and reads it, in a `with` block of the main thread.

    Within the block a Ctrl-C comes as `CtrlC` and interrupts nothing. A turn that has not ended then goes on.

    Args:
        open_stream: called in the thread that reads.
    """

    def __init__(self, open_stream: Callable[[], S]) -> None:
        self._open = open_stream
        self._coming: SimpleQueue[Item[S]] = SimpleQueue()  # alone of all queues, a signal's handler may use it
        self._waiting: deque[Item[S]] = deque()
        self._room = threading.Semaphore(_AHEAD)
        self._stream: S | None = None
        self._begun = threading.Event()  # by its first event, without which it cannot be cancelled
        self._left = False
        self._on_ctrl_c: Any = signal.default_int_handler
        self._warnings = _Warnings(self._coming)

    def __enter__(self) -> Self:
        self._on_ctrl_c = signal.signal(signal.SIGINT, lambda *_: self._coming.put(CtrlC()))
        if not _LOG.handlers:  # who wants to see the log (`CLAWDFORGE_LOG`) has all of it
            _LOG.addHandler(self._warnings)
        threading.Thread(target=self._read, name="reads a stream", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._on_ctrl_c)
        _LOG.removeHandler(self._warnings)
        self._left = True
        self._room.release()

    @property
    def begun(self) -> bool:
        """Whether anything has come of the turn, so that it can be cancelled; or the stream has ended."""
        return self._begun.is_set()

    def take(self, timeout_s: float) -> Item[S] | None:
        """What comes next; None where nothing does in this time."""
        item = self._waiting.popleft() if self._waiting else self._come(timeout_s)
        if isinstance(item, Event):
            self._room.release()
        return item

    def has(self, wanted: Callable[[Item[S]], bool]) -> bool:
        """Whether such a thing has come and waits to be taken."""
        while (item := self._come(0)) is not None:
            self._waiting.append(item)
        return any(map(wanted, self._waiting))

    def answer(self, permission_id: str, option_id: str) -> None:
        """Answers a request that has come.

        Raises:
            ForgeError: it did not count.
        """
        if self._stream is not None:  # which a request has come from
            self._stream.answer(permission_id, option_id=option_id)

    def cancel(self) -> None:
        """Has the turn cancelled, without waiting for that. What goes wrong comes as `CancelFailed`."""
        threading.Thread(target=self._cancel, name="cancels a turn", daemon=True).start()

    def _come(self, timeout_s: float) -> Item[S] | None:
        try:
            return self._coming.get(timeout_s > 0, timeout_s)
        except Empty:
            return None

    def _read(self) -> None:
        try:
            self._stream = stream = self._open()
            for event in stream:
                self._begun.set()
                self._room.acquire()
                if self._left:
                    stream.close()
                    return
                self._coming.put(event)
            self._coming.put(Ended(stream))
        except BaseException as error:  # noqa: BLE001  # raised again by whoever takes it
            self._coming.put(Ended(error=error))
        finally:
            self._begun.set()

    def _cancel(self) -> None:
        self._begun.wait()
        try:
            if self._stream is not None:
                self._stream.cancel()
        except ForgeError as error:
            self._coming.put(CancelFailed(error))
