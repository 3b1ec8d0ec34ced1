"""The processes of one session, as the kernel counts and limits them together.

What a group is, whatever the version of cgroups (`group_v1`, `group_v2`). Where groups can be made: `cgroups`.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Final, Literal, Protocol

from clawdforge.server.sandbox.base import LimitName

Controller = Literal["memory", "pids", "cpu"]
CONTROLLERS: Final[tuple[Controller, ...]] = ("memory", "pids", "cpu")

_AT_ONCE: Final = 64
_ENDS_WITHIN_S: Final = 5.0
_DIES_WITHIN_MS: Final = 100


class Group(Protocol):
    """A group, made for one start of an agent."""

    @property
    def holds(self) -> bool:
        """Whether a child is to be held back until it was moved by `take`; else `inside` is enough."""

    @property
    def alarm(self) -> int | None:
        """An eventfd that can be read from when memory has not been enough: where it was this group's (`alarmed`),
        all of it is to be ended.

        None: the kernel does so itself. To be watched no more before `remove`.
        """

    def alarmed(self) -> bool:
        """Whether it is this group that had not enough: the alarm is also raised for what one above it lacks."""

    def inside(self) -> AbstractContextManager[None]:
        """What the calling thread starts meanwhile is in the group from its first instruction on."""

    def take(self, pid: int) -> None:
        """Moves a process of ours, which has no children."""

    def pids(self) -> list[int]:
        """What runs in it, by the numbers on this side of the wall."""

    def shut(self) -> None:
        """Has nothing started in it any more, and its processes killed where one call can do that; at once."""

    def kill(self) -> None:
        """Shuts it, and kills all that is in it. Blocking: until it is empty, or some seconds have passed."""

    def reached(self) -> LimitName | None:
        """The limit that something in it has met, the memory's first; None where none was."""

    def remove(self) -> None:
        """Removes it. Raises OSError where something still runs in it."""


def kill_each(group: Group) -> None:
    """Kills what is in a group, look by look, until nothing is.

    It gives up after a while: something can be started meanwhile, or the kernel holds a process.
    """
    give_up_at = time.monotonic() + _ENDS_WITHIN_S
    while (pids := group.pids()) and time.monotonic() < give_up_at:
        pinned = {pid: fd for pid in pids[:_AT_ONCE] if (fd := _pidfd(pid)) is not None}
        try:
            for pid in pinned.keys() & set(group.pids()):  # still in it, so the descriptor is not another's
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(pinned[pid], signal.SIGKILL)
            _wait_for_ends(pinned.values())
        finally:
            for fd in pinned.values():
                os.close(fd)


def write(path: Path, text: str) -> None:
    """Tells the kernel something, by one write into a file that is there."""
    fd = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def pids_in(path: Path) -> list[int]:
    """The processes of the group that this directory is; one in another's namespace is 0 and left out."""
    return [pid for pid in map(int, (path / "cgroup.procs").read_text().split()) if pid]


def counted(path: Path, name: str) -> int:
    """A number in a file of lines `name number`; 0 where it is not told."""
    with suppress(OSError):
        told: Mapping[str, str] = dict(line.split(" ", 1) for line in path.read_text().splitlines())
        return int(told.get(name, 0))
    return 0


def _pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


def _wait_for_ends(pidfds: Iterable[int]) -> None:
    ends = select.poll()
    waiting = 0
    for fd in pidfds:
        ends.register(fd, select.POLLIN)
        waiting += 1
    while waiting and (gone := ends.poll(_DIES_WITHIN_MS)):
        for fd, _ in gone:
            ends.unregister(fd)
        waiting -= len(gone)
