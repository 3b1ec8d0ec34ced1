"""Looks after what the kernel does not limit: the room that sessions take on the disk, and, where there are no
groups for them (`sandbox.cgroups`), their memory and processes.

Between two looks a session can take more than it may; docs/limits.md says what bounds it then. Must not end
anything: who is watched does.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from clawdforge.server.agents import footprint
from clawdforge.server.agents.sight import Sight
from clawdforge.server.sandbox import limits
from clawdforge.server.sandbox.base import Limits
from clawdforge.server.sandbox.limits import Exceeded
from clawdforge.server.workspaces import size

_log: Final = logging.getLogger(__name__)
_INTERVAL_S: Final = 1.0
_REST: Final = 19
"""So many times as long as a costly look at a session has taken there is no other of its kind."""
_COUNTED_AGAIN_S: Final = 60.0


@dataclass(eq=False, slots=True)
class Watched:
    """An agent that runs, and what of its limits is to be looked after.

    Attributes:
        pids: its processes, all of its tree. Called in a thread.
        directories: what it can fill; the workspace first.
        limits: those that nobody else keeps.
        on_exceeded: hears, on the loop, of one that it has passed; again as long as it is watched.
    """

    pids: Callable[[Sight], Sequence[int]]
    directories: Sequence[Path]
    limits: Limits
    on_exceeded: Callable[[Exceeded], None]
    _free_bytes: int = 0
    _written_bytes: int = 0
    _held_bytes: int = 0
    _counted_at: float = field(default=float("-inf"))
    _counted_not_before: float = 0.0
    _shares_not_before: float = 0.0

    def look(self, sight: Sight) -> Exceeded | None:
        """The limit that it has passed, if any. Blocking."""
        return self._look_at_processes(sight) or self._look_at_disk(sight)

    def _look_at_processes(self, sight: Sight) -> Exceeded | None:
        memory_bytes, processes = self.limits.memory_bytes, self.limits.processes
        if memory_bytes is None and processes is None:
            return None
        pids = self.pids(sight)
        taken = footprint.taken(pids)
        if processes is not None and taken.threads > processes:
            return limits.processes(processes)
        if memory_bytes is not None and taken.memory_bytes > memory_bytes:
            return self._look_at_shares(pids, memory_bytes)
        return None

    def _look_at_shares(self, pids: Sequence[int], memory_bytes: int) -> Exceeded | None:
        """Where forks share much, the costly look says that all is well: so it is not taken each time."""
        began = time.monotonic()
        if began < self._shares_not_before:
            return None
        if footprint.share_bytes(pids) > memory_bytes:
            return limits.memory(memory_bytes)
        self._shares_not_before = _rested(began)
        return None

    def _look_at_disk(self, sight: Sight) -> Exceeded | None:
        """Counting many files takes a while, so it is done only where it can tell something new: each minute, or
        where the limit is passed if all that was written to the disk meanwhile was written by this session.
        """
        may_hold_bytes = self.limits.workspace_bytes
        if may_hold_bytes is None:
            return None
        self._note_what_was_written()
        began = time.monotonic()
        late = began - self._counted_at > _COUNTED_AGAIN_S
        due = late or self._held_bytes + self._written_bytes > may_hold_bytes
        if not due or began < self._counted_not_before:
            return None
        device = self.directories[0].stat().st_dev
        held_bytes = held(self.directories, footprint.unlinked_bytes(self.pids(sight), device))
        if held_bytes is None or held_bytes > may_hold_bytes:
            return limits.workspace(may_hold_bytes, held_bytes)
        self._held_bytes, self._written_bytes, self._counted_at = held_bytes, 0, time.monotonic()
        self._counted_not_before = _rested(began)
        return None

    def _note_what_was_written(self) -> None:
        """By anybody to the disk of the workspace, since the last look: by how much less is free there."""
        seen = os.statvfs(self.directories[0])
        free_bytes = seen.f_bfree * seen.f_frsize
        self._written_bytes += max(0, self._free_bytes - free_bytes)
        self._free_bytes = free_bytes


def _rested(began: float) -> float:
    """When what began then, and is over now, may be done again."""
    now = time.monotonic()
    return now + _REST * (now - began)


def held(directories: Sequence[Path], besides_bytes: int = 0) -> int | None:
    """What directories hold; None where nobody can say. Blocking."""
    try:
        return size.size_bytes(*directories) + besides_bytes
    except size.TooDeep:
        return None


class Watchdog:
    """Looks at everything that is watched, round by round, while there is anything. To be used on the loop."""

    def __init__(self, interval_s: float = _INTERVAL_S) -> None:
        self._interval_s = interval_s
        self._watched: set[Watched] = set()
        self._task: asyncio.Task[None] | None = None

    def watch(self, watched: Watched) -> None:
        """Looks after it until `leave`, where there is anything to look after."""
        wanted = watched.limits
        if wanted.memory_bytes is None and wanted.processes is None and wanted.workspace_bytes is None:
            return
        self._watched.add(watched)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._rounds())

    def leave(self, watched: Watched) -> None:
        """Looks after it no more; nothing is told of it from here on."""
        self._watched.discard(watched)
        if not self._watched and self._task is not None:
            self._task.cancel()
            self._task = None

    async def _rounds(self) -> None:
        loop = asyncio.get_running_loop()
        took_s = 0.0
        while True:
            await asyncio.sleep(max(self._interval_s, took_s))
            began = loop.time()
            await asyncio.to_thread(self._round, tuple(self._watched), loop)
            took_s = loop.time() - began

    def _round(self, watched: Sequence[Watched], loop: asyncio.AbstractEventLoop) -> None:
        """In a thread. What is found is told at once: to count others can take a while."""
        sight = Sight()
        for each in watched:
            try:
                exceeded = each.look(sight)
            except OSError:  # it is gone, or there are no files left to look with: so at the next round
                continue
            except Exception:  # noqa: BLE001 - a fault of ours: it must not end the looks at all others
                _log.exception("an agent's limits could not be looked after")
                continue
            if exceeded is not None:
                loop.call_soon_threadsafe(self._tell, each, exceeded)

    def _tell(self, watched: Watched, exceeded: Exceeded) -> None:
        if watched in self._watched:
            watched.on_exceeded(exceeded)
