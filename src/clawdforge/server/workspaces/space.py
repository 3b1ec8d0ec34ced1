"""How much room a session has left on the disk: counted only where it can tell something new.

What is taken is known from the last count, and from how much less has been free on the disk since. Must not keep
agents within it (`agents.watchdog` does). For any thread.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clawdforge.server.workspaces import size

COUNTED_AGAIN_S: Final = 60.0
_REMEMBERED: Final = 1000


class Full(Exception):
    """There is too little room. `held_bytes` is what is taken; None: more than can be counted."""

    def __init__(self, held_bytes: int | None, limit_bytes: int) -> None:
        super().__init__("too little room")
        self.held_bytes = held_bytes
        self.limit_bytes = limit_bytes


@dataclass(slots=True)
class _Seen:
    """Of one session: what it held when it was counted, and what was written to the disk since, by anybody."""

    held_bytes: int
    counted_at: float
    free_bytes: int
    written_bytes: int = 0


class Space:
    """What sessions may still take.

    Args:
        limit_bytes: what the directories of one may hold together; 0: no limit.
        clock: monotonic seconds.
    """

    def __init__(self, limit_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit_bytes = limit_bytes
        self._clock = clock
        self._seen: OrderedDict[Path, _Seen] = OrderedDict()
        self._lock = threading.Lock()

    def fits(self, workspace: Path, wanted_bytes: int) -> bool:
        """Whether it is known, without counting, that so much more may be written. Takes no time.

        Raises:
            OSError: the workspace cannot be looked at.
        """
        if not self._limit_bytes:
            return True
        known = self._known(workspace)
        return known is not None and known + wanted_bytes <= self._limit_bytes

    def count(self, directories: Sequence[Path], wanted_bytes: int) -> None:
        """Counts, and returns where so much more may be written.

        Args:
            directories: of the session; the workspace first.
            wanted_bytes: what is going to be written.

        Raises:
            Full: it is too much.
            OSError: the workspace cannot be looked at.
        """
        held_bytes = self._counted(directories)
        if held_bytes is None or held_bytes + wanted_bytes > self._limit_bytes:
            raise Full(held_bytes, self._limit_bytes)

    def wrote(self, workspace: Path, size: int) -> None:
        """Something was put into it that was on the disk before."""
        with self._lock:
            if (seen := self._seen.get(workspace)) is not None:
                seen.written_bytes += size

    def _known(self, workspace: Path) -> int | None:
        """What is held at most, as far as that is known."""
        free_bytes = _free_bytes(workspace)
        with self._lock:
            seen = self._seen.get(workspace)
            if seen is None or self._clock() - seen.counted_at > COUNTED_AGAIN_S:
                return None
            seen.written_bytes += max(0, seen.free_bytes - free_bytes)
            seen.free_bytes = free_bytes
            self._seen.move_to_end(workspace)
            return seen.held_bytes + seen.written_bytes

    def _counted(self, directories: Sequence[Path]) -> int | None:
        """What is held; None where nobody can say."""
        counted_at, free_bytes = self._clock(), _free_bytes(directories[0])
        try:
            held_bytes = size.size_bytes(*directories)
        except size.TooDeep:
            return None
        with self._lock:
            self._seen[directories[0]] = _Seen(held_bytes, counted_at, free_bytes)
            while len(self._seen) > _REMEMBERED:
                self._seen.popitem(last=False)
        return held_bytes


def _free_bytes(workspace: Path) -> int:
    seen = os.statvfs(workspace)
    return seen.f_bfree * seen.f_frsize
