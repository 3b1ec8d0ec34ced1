"""Finds and ends every process that a child started, wherever it went.

A child is the leader of a session of its own, and carries a mark in its environment that its descendants
inherit. A descendant is known by its parents, by the leader's session or group, or, when it has left all of
these, by the mark. Must only ever signal processes that one of these names, and never one by its name.

Blocking (it reads /proc): call it from a thread. Linux only.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MARK: Final = "CLAWDFORGE_CHILD"
_PR_SET_CHILD_SUBREAPER: Final = 36
_PROC: Final = Path("/proc")


@dataclass(frozen=True, slots=True)
class ProcessStat:
    """One process as /proc shows it. (`pid`, `started`) names it for ever; a pid alone may be reused."""

    pid: int
    parent: int
    group: int
    session: int
    started: int
    zombie: bool


def adopt_orphans() -> None:
    """Makes this process the parent of descendants whose own parents die, so that they stay in sight.

    Source: prctl(2), PR_SET_CHILD_SUBREAPER.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER) failed")


def end_tree(leader: int, mark: str, *, within_s: float = 2.0) -> list[int]:
    """Kills the leader's whole tree; its zombies that became our children are for `ended_orphans` to find.

    Returns the pids that still run after `within_s` seconds: empty, unless the kernel holds one.
    """
    deadline = time.monotonic() + within_s
    while True:
        alive = [each for each in members(leader, mark) if not each.zombie]
        if not alive or time.monotonic() > deadline:
            return [each.pid for each in alive]
        _kill(alive)


def end_marked(mark_prefix: str) -> list[int]:
    """Kills every process whose mark begins so: what an earlier life of this gateway left. Returns the pids."""
    found = [each for each in _processes() if _mark_of(each.pid).startswith(mark_prefix)]
    _kill(found)
    return [each.pid for each in found]


def ended_orphans() -> list[int]:
    """Zombies that are our children: adopted ones, which nobody reaps, and children that their owners will."""
    return [each.pid for each in _processes() if each.zombie and each.parent == os.getpid()]


def members(leader: int, mark: str) -> list[ProcessStat]:
    """Every living process of the tree, the leader too while it lives, and its zombies that nobody reaped."""
    stats = {each.pid: each for each in _processes()}
    tree: set[int] = {leader} if leader in stats else set()
    tree.update(each.pid for each in stats.values() if leader in (each.session, each.group))
    # Only what has lost its parents needs the costlier look into its environment.
    orphaned = {os.getpid(), 1}
    tree.update(
        each.pid
        for each in stats.values()
        if each.parent in orphaned and each.pid not in tree and mark and _mark_of(each.pid) == mark
    )
    grown = True
    while grown:
        more = {each.pid for each in stats.values() if each.parent in tree} - tree
        tree |= more
        grown = bool(more)
    return [stats[pid] for pid in tree]


def _kill(targets: Sequence[ProcessStat]) -> None:
    """Kills processes, and waits until the kernel has taken them down (or for a tenth of a second)."""
    killed = select.poll()
    pinned = [fd for each in targets if (fd := _kill_pinned(each)) is not None]
    try:
        for fd in pinned:
            killed.register(fd, select.POLLIN)
        waiting = len(pinned)
        while waiting and (gone := killed.poll(100)):
            for fd, _ in gone:
                killed.unregister(fd)
            waiting -= len(gone)
    finally:
        for fd in pinned:
            os.close(fd)


def _kill_pinned(stat: ProcessStat) -> int | None:
    """Kills one process. Returns a descriptor of it, which tells its end; None where it was gone already."""
    try:
        fd = os.pidfd_open(stat.pid)
    except OSError:
        return None
    # The descriptor pins the process; only now is it sure that the pid is still the one that was seen.
    now = _stat(stat.pid)
    if now is not None and now.started == stat.started:
        with suppress(OSError):
            signal.pidfd_send_signal(fd, signal.SIGKILL)
            return fd
    os.close(fd)
    return None


def _processes() -> Iterator[ProcessStat]:
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and (stat := _stat(int(entry.name))) is not None:
            yield stat


def _stat(pid: int) -> ProcessStat | None:
    try:
        raw = (_PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    # The name in parentheses may itself hold spaces and parentheses: what counts comes after the last one.
    fields = raw[raw.rindex(b")") + 2 :].split()
    return ProcessStat(
        pid=pid,
        parent=int(fields[1]),
        group=int(fields[2]),
        session=int(fields[3]),
        started=int(fields[19]),
        zombie=fields[0] in (b"Z", b"X"),
    )


def _mark_of(pid: int) -> str:
    try:
        environ = (_PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return ""
    prefix = f"{MARK}=".encode()
    for item in environ.split(b"\0"):
        if item.startswith(prefix):
            return item[len(prefix) :].decode("ascii", "replace")
    return ""
