"""One child process: started off the loop, its pipes never blocking, its whole tree ended with it.

Knows bytes and lines, signals and exit codes; must not know what the lines mean.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, Protocol

from clawdforge.server.agents.keeping import Keeper
from clawdforge.server.agents.lines import LineCutter, LineTooLong
from clawdforge.server.agents.pipes import Stderr, Stdin, Stdout
from clawdforge.server.agents.spawner import Command, Spawned, Spawner
from clawdforge.server.agents.uncut import uncut
from clawdforge.server.sandbox.limits import Exceeded

_UNSENT_LIMIT_BYTES: Final = 16 * 1024 * 1024
_EOF_GRACE_S: Final = 0.5
_TERM_GRACE_S: Final = 0.5
_DRAIN_GRACE_S: Final = 1.0
_EXIT_GRACE_S: Final = 0.5


class ProcessEvents(Protocol):
    """Who owns a process and hears of it. All are called on the loop, in order."""

    def on_line(self, line: bytes) -> None:
        """A line came on stdout."""

    def on_broken(self, reason: str) -> None:
        """Nothing more can come or go, though the process may live: its owner must end it."""

    def on_exit(self, code: int, exceeded: Exceeded | None) -> None:
        """The process is gone, and everything that it wrote has been handed over. Comes once, last.

        `exceeded` is the limit that it has ended for, if it has.
        """


class ChildProcess:
    """A running child. Make one with `start`; it must be ended with `end`, whatever happened to it."""

    def __init__(self, spawned: Spawned, command: Command, spawner: Spawner, owner: ProcessEvents) -> None:
        self.pid: int = spawned.popen.pid
        self._spawned = spawned
        self._keeper = Keeper(spawner, spawned, command, self._tree_ended)
        self._spawner = spawner
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._exited = asyncio.Event()
        self._sweep: asyncio.Task[None] | None = None
        self._gone: asyncio.Task[None] | None = None
        popen = spawned.popen
        assert popen.stdin and popen.stdout and popen.stderr
        self._cutter = LineCutter(owner.on_line, command.line_limit_bytes)
        self._stdout = Stdout(popen.stdout, self._cut, self._stdout_ended)
        self._stderr = Stderr(popen.stderr)
        self._stdin = Stdin(popen.stdin)
        self._answers: list[bytes] | None = None

    @classmethod
    async def start(cls, spawner: Spawner, command: Command, owner: ProcessEvents) -> ChildProcess:
        """Starts a child; its owner hears of it from the loop's next round on.

        Raises:
            OSError: it could not be started; nothing is left.
        """
        task = asyncio.ensure_future(cls._start(spawner, command, owner))
        try:
            process = await asyncio.shield(task)
        except asyncio.CancelledError:
            await uncut(cls._undone(task))
            raise
        process._loop.call_soon(process._listen)
        return process

    @classmethod
    async def _start(cls, spawner: Spawner, command: Command, owner: ProcessEvents) -> ChildProcess:
        return cls(await spawner.spawn(command), command, spawner, owner)

    @classmethod
    async def _undone(cls, starting: asyncio.Task[ChildProcess]) -> None:
        """A start is not cut off half-way, where nobody would own the child: it takes milliseconds."""
        with suppress(OSError):  # then there is none
            process = await starting
            process._owner = _Nobody()
            process.deafen()
            process._listen()
            await process.end(now=True)

    def _listen(self) -> None:
        self._stdout.resume()
        self._loop.add_reader(self._spawned.pidfd, self._leader_exited)
        self._keeper.begin()

    def send(self, line: bytes) -> None:
        """Queues a line, without its newline, for the child's stdin; never blocks.

        What answers the lines of one bite leaves together: each write wakes the child.
        """
        if self._answers is None:
            self._send([line])
        else:
            self._answers.append(line)

    def _send(self, lines: Sequence[bytes]) -> None:
        unsent_bytes = self._stdin.unsent_bytes
        if unsent_bytes > _UNSENT_LIMIT_BYTES and sum(map(len, lines)) < unsent_bytes:
            self._owner.on_broken("the agent does not read its input")
        else:
            self._stdin.write(lines)

    def pause(self) -> None:
        """Stops reading stdout until `resume`: the child waits when its pipe is full."""
        self._stdout.pause()

    def resume(self) -> None:
        """Reads stdout on."""
        self._stdout.resume()

    def deafen(self) -> None:
        """Hears nothing more of what the child writes to stdout, though it may still run.

        A line of which the beginning was read already is not told either.
        """
        self._stdout.close()

    def stderr_tail(self) -> str:
        """The last kilobytes of stderr, as text; not yet free of secrets or control characters."""
        return self._stderr.tail().decode("utf-8", "replace")

    @property
    def running(self) -> bool:
        """Whether the leader has not exited yet."""
        return not self._exited.is_set()

    async def end(self, *, now: bool, heeds_eof: bool = True) -> None:
        """Ends the child and everything it started. True after, and a second call is harmless.

        Args:
            now: kill at once; else the child first sees its stdin close, then SIGTERM, each with half a second.
            heeds_eof: it is worth waiting for what it does when its stdin closes.
        """
        if not now:
            self._stdin.close()
            if not await self._exits_within(_EOF_GRACE_S if heeds_eof else 0):
                await self._spawner.ask_to_end(self.pid)
                await self._exits_within(_TERM_GRACE_S)
        if not self._exited.is_set():
            await asyncio.shield(self._tree_ended())
            await self._exited.wait()
        assert self._gone is not None
        await asyncio.shield(self._gone)

    def _tree_ended(self) -> asyncio.Task[None]:
        """The one sweep that ends the tree, whoever is the first to want it."""
        if self._sweep is None:
            self._sweep = self._loop.create_task(self._spawner.end_tree(self._spawned))
        return self._sweep

    async def _exits_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._exited.wait(), seconds)
        return self._exited.is_set()

    def _leader_exited(self) -> None:
        self._loop.remove_reader(self._spawned.pidfd)
        os.close(self._spawned.pidfd)
        self._keeper.leader_ended()
        self._exited.set()
        self._gone = self._loop.create_task(self._after_exit())

    async def _after_exit(self) -> None:
        """What the leader left behind is ended first: only then is the end of its output sure to come.

        The leader itself is reaped after that: until then nobody else can be given its pid, by which the tree is
        known.
        """
        await self._tree_ended()
        exit_code = await self._spawner.reap(self._spawned)
        self._stdout.drain()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stdout.ended.wait(), _DRAIN_GRACE_S)
        self.deafen()
        self._stderr.close()
        self._stdin.abort()
        self._owner.on_exit(exit_code, self._keeper.why(exit_code))

    def _cut(self, bite: bytes) -> None:
        self._answers = []
        try:
            self._cutter.feed(bite)
        except LineTooLong as problem:
            self.deafen()
            self._owner.on_broken(f"the agent wrote {problem}")
        finally:
            answers, self._answers = self._answers, None
            if answers:
                self._send(answers)

    def _stdout_ended(self) -> None:
        self._cutter.finish()
        # The end of the output comes a moment before the exit that it belongs to.
        self._loop.call_later(_EXIT_GRACE_S, self._closed_and_alive)

    def _closed_and_alive(self) -> None:
        if not self._exited.is_set():
            self._owner.on_broken("the agent closed its output")


class _Nobody:
    """Owns a child that nobody has come to have: whoever wanted it has gone meanwhile."""

    def on_line(self, line: bytes) -> None: ...

    def on_broken(self, reason: str) -> None: ...

    def on_exit(self, code: int, exceeded: Exceeded | None) -> None: ...
