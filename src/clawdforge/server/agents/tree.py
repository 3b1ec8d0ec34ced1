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
from itertools import chain
from pathlib import Path
from typing import Final

MARK: Final = "CLAWDFORGE_CHILD"
_PR_SET_CHILD_SUBREAPER: Final = 36
_QUIET_LOOKS: Final = 2
_UNCLEAR_S: Final = 0.1
_LOOK_AGAIN_MS: Final = 2
_STRAY_LOOKS: Final = 20
_PROC: Final = Path("/proc")


@dataclass(frozen=True, slots=True)
class ProcessStat:
    """One process as /proc shows it. (`pid`, `started`) names it for ever; a pid alone may be reused.

    It is a `zombie` once all of its threads have ended: until then it may run on though its first one has, and
    there is nothing to reap.
    """

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
    """Kills the leader's whole tree; its zombies that became our children are for `orphans` to find.

    Returns the pids that still run after `within_s` seconds: empty, unless the kernel holds one.
    """
    began = time.monotonic()
    quiet_looks = 0
    # Processes start and end while /proc is being read: only what two looks do not see is not there.
    while quiet_looks < _QUIET_LOOKS:
        lasted = time.monotonic() - began
        found, unclear = _look(leader, mark)
        alive = [each for each in found if not each.zombie]
        if lasted > within_s:
            return [each.pid for each in alive]
        if alive:
            _kill(alive)
            quiet_looks = 0
        elif unclear and lasted < _UNCLEAR_S:
            _wait_for_ends(unclear, _LOOK_AGAIN_MS)
        else:
            quiet_looks += 1
    return []


def end_marked(mark_prefix: str) -> list[int]:
    """Kills every process whose mark begins so: what an earlier life of this gateway left. Returns the pids."""
    found = [each for each in _processes() if (_mark_of(each.pid) or "").startswith(mark_prefix)]
    _kill(found)
    return [each.pid for each in found]


def orphans() -> tuple[list[int], bool]:
    """Our children that ended, and whether any lives: adopted ones, which have no owner, and leaders, which do."""
    children = list(_agents_children())
    return [each.pid for each in children if each.zombie], any(not each.zombie for each in children)


def end_strays() -> None:
    """Kills our children that show no mark: daemons of an agent, which they outlive without its environment.

    Whose they are cannot be told. So this is for when no agent runs, and none is being started.
    """
    for _ in range(_STRAY_LOOKS):  # the children of one become ours when it ends
        found = [each for each in _agents_children() if not each.zombie and not _mark_of(each.pid)]
        if not found:
            return
        _kill(found)


def _agents_children() -> Iterator[ProcessStat]:
    """Our children but for those that this process started for itself.

    A leader has a session of its own, and nothing that it starts can ever come back to ours.
    """
    ours = os.getsid(0)
    return (each for each in _processes() if each.parent == os.getpid() and each.session != ours)


def members(leader: int, mark: str) -> list[ProcessStat]:
    """Every process of the tree, the leader too while it lives, and its zombies that nobody has reaped."""
    return _look(leader, mark)[0]


def _look(leader: int, mark: str) -> tuple[list[ProcessStat], list[ProcessStat]]:
    """The tree, and those of our children that show no environment: they are about to start another program."""
    stats = {each.pid: each for each in _processes()}
    tree: set[int] = {leader} if leader in stats else set()
    tree.update(each.pid for each in stats.values() if leader in (each.session, each.group))
    # Only what has lost its parents needs the costlier look into its environment. A parent that is not there has
    # ended while this look was taken.
    unclear = []
    for each in stats.values():
        if each.pid in tree or not mark or (each.parent in stats and each.parent not in (os.getpid(), 1)):
            continue
        seen = _mark_of(each.pid)
        if seen == mark:
            tree.add(each.pid)
        elif seen is None and each.parent == os.getpid() and not each.zombie:
            unclear.append(each)
    grown = True
    while grown:
        more = {each.pid for each in stats.values() if each.parent in tree} - tree
        tree |= more
        grown = bool(more)
    return [stats[pid] for pid in tree], unclear


def _kill(targets: Sequence[ProcessStat]) -> None:
    """Kills processes, and waits until the kernel has taken them down (or for a tenth of a second)."""
    pinned = [fd for each in targets if (fd := _kill_pinned(each)) is not None]
    _poll_ends(pinned, 100)


def _wait_for_ends(targets: Sequence[ProcessStat], limit_ms: int) -> None:
    """Waits so long, or until all of these have ended."""
    pinned = []
    for each in targets:
        with suppress(OSError):
            pinned.append(os.pidfd_open(each.pid))
    _poll_ends(pinned, limit_ms)


def _poll_ends(pinned: Sequence[int], limit_ms: int) -> None:
    """Waits for the ends of pinned processes, at most `limit_ms` from one to the next, and lets go of them."""
    ends = select.poll()
    try:
        for fd in pinned:
            ends.register(fd, select.POLLIN)
        waiting = len(pinned)
        while waiting and (gone := ends.poll(limit_ms)):
            for fd, _ in gone:
                ends.unregister(fd)
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
        zombie=fields[0] in (b"Z", b"X") and int(fields[17]) <= 1,
    )


def _mark_of(pid: int) -> str | None:
    """The mark in a process's environment; "" where there is none, None where there is no environment (yet)."""
    process = _PROC / str(pid)
    environ = None
    # One whose first thread has ended shows its environment by the others.
    for thread in chain([process], process.glob("task/*")):
        with suppress(OSError):
            environ = (thread / "environ").read_bytes()
        if environ:
            break
    else:
        return "" if environ is None else None
    prefix = f"{MARK}=".encode()
    for item in environ.split(b"\0"):
        if item.startswith(prefix):
            return item[len(prefix) :].decode("ascii", "replace")
    return ""
