"""Starts children and ends their trees, off the loop: both take milliseconds.

Must not talk to a child: `process` does. What is known of a tree, and how one is found, is in `tree`.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from io import FileIO
from typing import Final

from clawdforge.server.agents import marks, tree
from clawdforge.server.agents.sight import Sight
from clawdforge.server.agents.watchdog import Watchdog
from clawdforge.server.sandbox import spawning
from clawdforge.server.sandbox.base import Space, Wall
from clawdforge.server.sandbox.bounds import Bounds
from clawdforge.server.sandbox.group import Group

_log: Final = logging.getLogger(__name__)
_REMOVED_WITHIN_S: Final = 2.0
_REMOVED_AGAIN_S: Final = 0.01
_REAPED_AFTER_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class Command:
    """What is to be started.

    Attributes:
        env: the whole environment, but for the mark, and what the wall sets.
        space: what it may have of this machine.
        mark: what its descendants are known by.
        line_limit_bytes: the longest line that it may write.
    """

    argv: Sequence[str]
    env: Mapping[str, str] = field(repr=False)
    space: Space
    mark: str
    line_limit_bytes: int


@dataclass(frozen=True, slots=True)
class Spawned:
    """A started child. `pidfd` tells its end: nobody can take that word of the kernel, no thread waits for it.

    `mark` and `number` are what its descendants are known by (`marks`), `group` is where the kernel counts them.
    """

    popen: subprocess.Popen[bytes]
    pidfd: int
    number: int
    mark: str
    group: Group | None

    def pids(self, sight: Sight) -> Sequence[int]:
        """All that runs of its tree. Blocking; raises OSError where nothing can be seen."""
        if self.group is not None:
            return self.group.pids()
        return sight.pids_of(self.popen.pid, self.mark, self.number)


class Spawner:
    """Starts children, each behind the wall, from ONE thread that lives as long as the gateway.

    Off the loop, because starting a process takes milliseconds; from one thread, because a parent-death signal
    fires when the thread that spawned ends, not the process. Trees are ended from another thread, all that are to
    end at a time by the same looks. There, orphans are reaped too.
    """

    def __init__(self, wall: Wall, bounds: Bounds = Bounds()) -> None:  # noqa: B008 - frozen
        self.bounds = bounds
        self.watchdog: Watchdog = Watchdog()
        self._wall = wall
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spawn", initializer=wall.prepare_thread)
        self._looks = ThreadPoolExecutor(1, thread_name_prefix="tree")
        # Behind any other wall what an agent starts can go its own ways.
        self._contained = wall.level == "bwrap"
        self._serials = itertools.count()
        self._unreaped: set[int] = set()
        self._starting = threading.Lock()
        self._sweeps: dict[tree.Sweep, asyncio.Future[None]] = {}
        self._sweeping: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._reaping: asyncio.TimerHandle | None = None

    async def spawn(self, command: Command) -> Spawned:
        """Starts a child as the leader of a session of its own, with pipes.

        In the end its tree must be given to `end_tree`, then itself to `reap`.

        Raises:
            OSError: it could not be started; nothing is left.
        """
        loop = asyncio.get_running_loop()
        self._hear_of_orphans(loop)
        return await loop.run_in_executor(self._thread, self._spawn, command)

    async def ask_to_end(self, leader: int) -> None:
        """Sends SIGTERM to a child that was not reaped yet."""
        asked = functools.partial(tree.ask_to_end, leader, contained=self._contained)
        await asyncio.get_running_loop().run_in_executor(self._looks, asked)

    async def end_tree(self, child: Spawned) -> None:
        """Kills a child that was not reaped yet, and everything that it started."""
        sweep = tree.Sweep(child.popen.pid, child.mark, child.number, self._contained)
        loop = asyncio.get_running_loop()
        group = None if self._contained else child.group
        if group is not None:
            await loop.run_in_executor(self._looks, _shut, group)
        over = self._sweeps[sweep] = loop.create_future()
        if self._sweeping is None:
            self._sweeping = loop.create_task(self._sweep())
        await asyncio.shield(over)
        if group is not None:  # what is left in it has put off its marks
            await loop.run_in_executor(self._looks, _kill, group)
        if sweep.left:
            _log.error("processes of an agent could not be ended: %s", sweep.left)

    async def reap(self, child: Spawned) -> int:
        """The exit code of a child that has ended; the negative number of the signal that ended it.

        Where it was the last, what none of them is known to have started is ended too.
        """
        code = child.popen.wait()  # returns at once
        self._unreaped.discard(child.popen.pid)
        self._looks.submit(_remove, child.group)
        if not self._contained and not self._unreaped:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._end_strays)
        offset = self._wall.exit_offset
        return code if offset is None or code <= offset else offset - code

    def close(self) -> None:
        """Ends the threads, and the strays; children must have been ended before."""
        if self._loop is not None:
            self._loop.remove_signal_handler(signal.SIGCHLD)
        if self._reaping is not None:
            self._reaping.cancel()
        self._thread.submit(self._end_strays)
        self._thread.shutdown()
        self._looks.shutdown()

    def _spawn(self, command: Command) -> Spawned:
        env = {**command.env, marks.VARIABLE: command.mark}
        number = marks.number(command.mark.partition(":")[0], next(self._serials))
        group = self.bounds.group(command.mark.rpartition(":")[2])
        try:
            with self._starting:
                with marks.worn(number):
                    popen = _piped(functools.partial(self._start, command, env, group))
                self._unreaped.add(popen.pid)
            try:
                pidfd = os.pidfd_open(popen.pid)
            except OSError:
                with popen:
                    popen.kill()
                self._unreaped.discard(popen.pid)
                raise
        except BaseException:
            _remove(group)
            raise
        return Spawned(popen, pidfd, number, command.mark, group)

    def _start(
        self, command: Command, env: Mapping[str, str], group: Group | None, **ends: int
    ) -> subprocess.Popen[bytes]:
        return spawning.popen(self._wall.enclose(command.argv, env, command.space), group, **ends)

    async def _sweep(self) -> None:
        """Looks for as long as a tree is to be ended; one that comes meanwhile joins at the next look."""
        loop = asyncio.get_running_loop()
        while under_way := list(self._sweeps):
            try:
                await loop.run_in_executor(self._looks, tree.sweep, under_way, frozenset(self._unreaped))
            except Exception as error:  # noqa: BLE001 - a fault of ours: whoever waits must hear of it
                for each in under_way:
                    self._sweeps.pop(each).set_exception(error)
                continue
            for each in under_way:
                if each.over:
                    self._sweeps.pop(each).set_result(None)
        self._sweeping = None

    def _hear_of_orphans(self, loop: asyncio.AbstractEventLoop) -> None:
        """Signals come to a main thread alone; in another one orphans are reaped with their tree."""
        if self._loop is None and not self._contained and threading.current_thread() is threading.main_thread():
            self._loop = loop
            loop.add_signal_handler(signal.SIGCHLD, self._reap_soon)

    def _reap_soon(self) -> None:
        """A child of ours has ended: an agent, or an orphan. Of these there may be thousands a second."""
        if self._reaping is None and self._loop is not None:
            self._reaping = self._loop.call_later(_REAPED_AFTER_S, self._reap_now)

    def _reap_now(self) -> None:
        self._reaping = None
        self._looks.submit(self._reap_adopted)

    def _reap_adopted(self) -> None:
        """While nothing is being started: what is not noted yet would be taken for an orphan."""
        with self._starting:
            tree.reap_orphans(frozenset(self._unreaped))

    def _end_strays(self) -> None:
        """In the thread that spawns, so that none of its own children can be among them."""
        if not self._unreaped:
            tree.end_strays()


def _shut(group: Group) -> None:
    """Has nothing more started in a group. Where that cannot be done, its tree is ended all the same."""
    with suppress(OSError):
        group.shut()


def _piped(start: Callable[..., subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    """Starts a child with pipes, or leaves nothing open.

    Not with those that `Popen` makes: before Python 3.11.4 it forgets them where files run out after the first.
    """
    with ExitStack() as theirs, ExitStack() as ours:
        ends: dict[str, int] = {}
        kept: dict[str, FileIO] = {}
        for name, mode in (("stdin", "wb"), ("stdout", "rb"), ("stderr", "rb")):
            pipe = os.pipe()
            there, here = pipe if mode == "wb" else reversed(pipe)
            theirs.callback(os.close, there)
            kept[name] = ours.enter_context(FileIO(here, mode))
            ends[name] = there
        popen = start(**ends)
        ours.pop_all()
    popen.stdin, popen.stdout, popen.stderr = kept["stdin"], kept["stdout"], kept["stderr"]
    return popen


def _kill(group: Group) -> None:
    """Ends what is in a group, however it may have hidden. Where that cannot be done, there is the tree."""
    with suppress(OSError):
        group.kill()


def _remove(group: Group | None) -> None:
    """Removes a group of which nothing is left, or about to be."""
    if group is None:
        return
    give_up_at = time.monotonic() + _REMOVED_WITHIN_S
    while time.monotonic() < give_up_at:
        try:
            group.remove()
            return
        except OSError:
            _kill(group)
            time.sleep(_REMOVED_AGAIN_S)
    _log.error("the group of an agent could not be removed: %s", group)
