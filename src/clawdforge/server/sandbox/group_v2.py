"""A group of cgroup v2: one directory. Source: the kernel's admin-guide/cgroup-v2."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clawdforge.server.sandbox.base import LimitName, Limits
from clawdforge.server.sandbox.group import Controller, counted, kill_each, pids_in, write

_PERIOD_US: Final = 100_000


@dataclass(frozen=True, slots=True)
class GroupV2:
    """`group.Group`.

    Here no thread can be elsewhere than its process. So a child is moved, which takes the kernel 7 to 14 ms, and
    is held back until then.

    Attributes:
        path: its directory.
        controllers: those that are at work in it.
    """

    path: Path
    controllers: frozenset[Controller]

    holds: bool = True
    alarm: int | None = None

    @classmethod
    def make(cls, name: str, parent: Path, controllers: frozenset[Controller], limits: Limits) -> GroupV2:
        """Makes a group of this name in this directory.

        Raises:
            OSError: it could not be made, or not be limited; nothing is left.
        """
        path = parent / name
        with ExitStack() as unless_made:
            path.mkdir()
            unless_made.callback(path.rmdir)
            for controller in controllers:
                _limit(controller, path, limits)
            unless_made.pop_all()
        return cls(path, controllers)

    def inside(self) -> AbstractContextManager[None]:
        """Nothing to do: a child is moved."""
        return nullcontext()

    def take(self, pid: int) -> None:
        """Moves a process (see `group.Group`)."""
        write(self.path / "cgroup.procs", str(pid))

    def pids(self) -> list[int]:
        """What runs in it (see `group.Group`)."""
        return pids_in(self.path)

    def shut(self) -> None:
        """Has nothing started in it any more, and since Linux 5.14 all of it killed (see `group.Group`)."""
        if "pids" in self.controllers:
            write(self.path / "pids.max", "0")
        with suppress(FileNotFoundError):
            write(self.path / "cgroup.kill", "1")

    def kill(self) -> None:
        """Kills all that is in it (see `group.Group`)."""
        self.shut()
        kill_each(self)

    def alarmed(self) -> bool:
        """There is no alarm: the kernel ends all of the group itself."""
        return False

    def reached(self) -> LimitName | None:
        """The limit that was met (see `group.Group`)."""
        if "memory" in self.controllers and counted(self.path / "memory.events", "oom"):
            return "memory"
        if "pids" in self.controllers and counted(self.path / "pids.events", "max"):
            return "processes"
        return None

    def remove(self) -> None:
        """Removes it (see `group.Group`)."""
        self.path.rmdir()


def _limit(controller: Controller, path: Path, limits: Limits) -> None:
    if controller == "memory" and limits.memory_bytes is not None:
        write(path / "memory.max", str(limits.memory_bytes))
        write(path / "memory.oom.group", "1")
        if (path / "memory.swap.max").exists():
            write(path / "memory.swap.max", "0")
    elif controller == "pids" and limits.processes is not None:
        write(path / "pids.max", str(limits.processes))
    elif controller == "cpu" and limits.cpu_cores is not None:
        write(path / "cpu.max", f"{round(limits.cpu_cores * _PERIOD_US)} {_PERIOD_US}")
