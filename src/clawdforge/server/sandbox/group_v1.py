"""A group of cgroup v1: a directory for each controller. Source: the kernel's admin-guide/cgroup-v1."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clawdforge.server.sandbox.base import LimitName, Limits
from clawdforge.server.sandbox.group import Controller, counted, kill_each, pids_in, write

_PERIOD_US: Final = 100_000
_FULL: Final = 0.98


@dataclass(frozen=True, slots=True)
class GroupV1:
    """`group.Group`.

    A thread can be in a group by itself, and moves itself in 0.1 ms; to move another process takes the kernel
    7 to 14. So the thread that starts a child enters the group, and its child is born there.

    Attributes:
        paths: its directories; some can be the same.
        way_back: open `tasks` files of the groups in which this process is.
        limits: what it was made with.
        alarm: see `group.Group`.
    """

    paths: Mapping[Controller, Path]
    way_back: Mapping[Controller, int]
    limits: Limits
    alarm: int | None = None

    holds: bool = False

    @classmethod
    def make(
        cls, name: str, parents: Mapping[Controller, Path], way_back: Mapping[Controller, int], limits: Limits
    ) -> GroupV1:
        """Makes a group of this name in each of these directories.

        Raises:
            OSError: it could not be made, or not be limited; nothing is left.
        """
        paths = {controller: parent / name for controller, parent in parents.items()}
        with ExitStack() as unless_made:
            for path in set(paths.values()):
                path.mkdir()
                unless_made.callback(path.rmdir)
            for controller, path in paths.items():
                _limit(controller, path, limits)
            watch = "memory" in paths and limits.memory_bytes is not None
            alarm = _alarm(paths["memory"]) if watch else None
            unless_made.pop_all()
        return cls(paths, way_back, limits, alarm)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """The calling thread is in the group meanwhile (see `group.Group`)."""
        try:
            for path in self.paths.values():
                write(path / "tasks", "0")
            yield
        finally:
            for controller in self.paths:
                os.write(self.way_back[controller], b"0")

    def take(self, pid: int) -> None:
        """Nothing to do: what was started inside is in it."""

    def pids(self) -> list[int]:
        """What runs in it (see `group.Group`)."""
        return pids_in(next(iter(self.paths.values())))

    def shut(self) -> None:
        """Has nothing started in it any more (see `group.Group`)."""
        if "pids" in self.paths:
            write(self.paths["pids"] / "pids.max", "0")

    def kill(self) -> None:
        """Kills all that is in it (see `group.Group`)."""
        self.shut()
        kill_each(self)

    def alarmed(self) -> bool:
        """Whether the alarm is its own (see `group.Group`), which comes a moment before something is killed."""
        if not self._met_memory_limit():
            return False
        full = _number(self.paths["memory"] / "memory.usage_in_bytes") > _FULL * (self.limits.memory_bytes or 0)
        return full or self._killed_for_memory()

    def reached(self) -> LimitName | None:
        """The limit that was met (see `group.Group`). The kernel also counts what a group above it lacked."""
        if "memory" in self.paths and self._killed_for_memory() and self._met_memory_limit():
            return "memory"
        if "pids" in self.paths and counted(self.paths["pids"] / "pids.events", "max"):
            peak = _number(self.paths["pids"] / "pids.peak")  # since Linux 6.1
            return "processes" if peak == 0 or peak >= (self.limits.processes or 0) else None
        return None

    def _killed_for_memory(self) -> bool:
        return counted(self.paths["memory"] / "memory.oom_control", "oom_kill") > 0

    def _met_memory_limit(self) -> bool:
        """By the most that it has had: how often it was refused more is no longer counted by every kernel."""
        if self.limits.memory_bytes is None:
            return False
        return _number(self.paths["memory"] / "memory.max_usage_in_bytes") > _FULL * self.limits.memory_bytes

    def remove(self) -> None:
        """Removes it (see `group.Group`)."""
        for path in set(self.paths.values()):
            with suppress(FileNotFoundError):  # a call before this one has come so far
                path.rmdir()
        if self.alarm is not None:
            os.close(self.alarm)


def _number(path: Path) -> int:
    """A file that is one number; 0 where there is none."""
    try:
        return int(path.read_text())
    except OSError:
        return 0


def _limit(controller: Controller, path: Path, limits: Limits) -> None:
    if controller == "memory" and limits.memory_bytes is not None:
        write(path / "memory.limit_in_bytes", str(limits.memory_bytes))
        with_swap = path / "memory.memsw.limit_in_bytes"
        if with_swap.exists():
            write(with_swap, str(limits.memory_bytes))
    elif controller == "pids" and limits.processes is not None:
        write(path / "pids.max", str(limits.processes))
    elif controller == "cpu" and limits.cpu_cores is not None:
        write(path / "cpu.cfs_period_us", str(_PERIOD_US))
        write(path / "cpu.cfs_quota_us", str(round(limits.cpu_cores * _PERIOD_US)))


def _alarm(memory: Path) -> int:
    """A descriptor that can be read from once the group has met its limit of memory, or is removed."""
    alarm = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    try:
        watched = os.open(memory / "memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
        try:
            write(memory / "cgroup.event_control", f"{alarm} {watched}")
        finally:
            os.close(watched)
    except OSError:
        os.close(alarm)
        raise
    return alarm
