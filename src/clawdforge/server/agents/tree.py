"""Finds and ends every process that a child started, wherever it went.

A child is the leader of a session of its own, and carries a mark in its environment that its descendants
inherit. A descendant is known by its parents, by the leader's session or group, or, when it has left all of
these, by the mark. Must only ever signal processes that one of these names, and never one by its name.

Blocking (it reads /proc): call it from a thread. Linux only.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import signal
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Final, TypeVar

MARK: Final = "CLAWDFORGE_CHILD"
_PR_SET_CHILD_SUBREAPER: Final = 36
_QUIET_LOOKS: Final = 2
_UNCLEAR_S: Final = 0.1
_LOOK_AGAIN_MS: Final = 2
_DIES_WITHIN_MS: Final = 100
_STRAY_LOOKS: Final = 20
_MARKED_END_WITHIN_S: Final = 10.0
_WAITED_FOR_LIMIT: Final = 64
_READ_BYTES: Final = 16 * 1024
_SCARCE: Final = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)

T = TypeVar("T")


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


@dataclass(eq=False, slots=True)
class Sweep:
    """A tree that is being ended, look by look. Its leader must not be reaped before the sweep is over.

    Until then the kernel gives the leader's pid to no other process, session or group: what bears it is ours.

    Attributes:
        over: whether the tree is gone, or its time is up.
        left: the pids that still run: none, unless the kernel holds one, or one starts others faster than they
            can be ended.
    """

    leader: int
    mark: str
    within_s: float = 5.0
    over: bool = False
    left: Sequence[int] = ()
    _began: float = field(default_factory=time.monotonic)
    _quiet_looks: int = 0

    def saw(self, alive: Sequence[ProcessStat], *, unclear: bool) -> None:
        """Takes what a look has found. Only what two looks do not see is not there.

        Processes start and end while /proc is being read. One that shows no environment yet (`unclear`) may be of
        this tree: it is given a moment to tell.
        """
        lasted_s = time.monotonic() - self._began
        if alive:
            self._quiet_looks = 0
        elif not unclear or lasted_s > _UNCLEAR_S:
            self._quiet_looks += 1
        self.left = [each.pid for each in alive]
        self.over = self._quiet_looks == _QUIET_LOOKS or lasted_s > self.within_s

    def saw_nothing(self) -> None:
        """Takes that a look could not be taken, which says nothing of what runs."""
        self.left = [self.leader]
        self.over = time.monotonic() - self._began > self.within_s


@dataclass(frozen=True, slots=True)
class Children:
    """This process's children, but for what it started for itself: leaders of trees, and adopted orphans."""

    ended: frozenset[int] = frozenset()
    alive: frozenset[int] = frozenset()


def adopt_orphans() -> None:
    """Makes this process the parent of descendants whose own parents die, so that they stay in sight.

    Source: prctl(2), PR_SET_CHILD_SUBREAPER.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER) failed")


def sweep(sweeps: Sequence[Sweep]) -> Children:
    """Takes one look for all of these trees, and kills what it finds of them. Returns the children it saw."""
    try:
        look = _Look()
        for each in sweeps:
            each.saw(look.alive_of(each), unclear=bool(look.unclear))
        targets = [look.stats[pid] for each in sweeps for pid in each.left]
        if targets:
            _kill(targets)
        elif look.unclear:
            _wait_for_ends(look.unclear, _LOOK_AGAIN_MS)
    except OSError as error:
        if error.errno not in _SCARCE:
            raise
        return _swept_blindly(sweeps)
    return look.children()


def end_marked(mark_prefix: str) -> list[int]:
    """Kills every process whose mark begins so: what an earlier life of this gateway left. Returns the pids."""
    pids: set[int] = set()
    quiet_looks = 0
    give_up_at = time.monotonic() + _MARKED_END_WITHIN_S
    while quiet_looks < _QUIET_LOOKS and time.monotonic() < give_up_at:  # they may start others meanwhile
        found = [each for each in _processes() if (_mark_of(each.pid) or "").startswith(mark_prefix)]
        _kill(found)
        pids.update(each.pid for each in found)
        quiet_looks = 0 if found else quiet_looks + 1
    return sorted(pids)


def end_strays() -> Children:
    """Kills our children that show no mark: daemons of an agent, which they outlive without its environment.

    Whose they are cannot be told. So this is for when no agent runs, and none is being started. Returns the
    children that are left.
    """
    for _ in range(_STRAY_LOOKS):  # the children of one become ours when it ends
        children = _children_of(_processes())
        found = [each for each in children if not each.zombie and not _mark_of(each.pid)]
        if not found:
            break
        _kill(found)
    return _told(children)


class _Look:
    """All processes at one time, and by what they can be known.

    Attributes:
        stats: every process, by its pid.
        unclear: children of ours that show no environment: they are about to start another program.
    """

    def __init__(self) -> None:
        self.stats: Mapping[int, ProcessStat] = {each.pid: each for each in _processes()}
        self.unclear: list[ProcessStat] = []
        self._by_parent: defaultdict[int, list[int]] = defaultdict(list)
        self._by_leader: defaultdict[int, list[int]] = defaultdict(list)
        self._by_mark: defaultdict[str, list[int]] = defaultdict(list)
        ours, self_pid = os.getsid(0), os.getpid()
        for each in self.stats.values():
            self._by_parent[each.parent].append(each.pid)
            self._by_leader[each.session].append(each.pid)
            self._by_leader[each.group].append(each.pid)
            # Only what has lost its parents needs the costlier look into its environment. A parent that is not
            # there has ended while this look was taken.
            if each.session == ours or (each.parent in self.stats and each.parent not in (self_pid, 1)):
                continue
            mark = _mark_of(each.pid)
            if mark:
                self._by_mark[mark].append(each.pid)
            elif mark is None and each.parent == self_pid and not each.zombie:
                self.unclear.append(each)

    def alive_of(self, tree: Sweep) -> list[ProcessStat]:
        """What runs of a tree, its leader too."""
        new = {*self._by_leader[tree.leader], *self._by_mark[tree.mark]}
        if tree.leader in self.stats:
            new.add(tree.leader)
        found = set(new)
        while new:
            new = {child for pid in new for child in self._by_parent[pid]} - found
            found |= new
        return [self.stats[pid] for pid in found if not self.stats[pid].zombie]

    def children(self) -> Children:
        """This process's own."""
        return _told(_children_of(self.stats.values()))


def _children_of(stats: Iterable[ProcessStat]) -> list[ProcessStat]:
    """A leader has a session of its own, and nothing that it starts can ever come back to ours."""
    ours, self_pid = os.getsid(0), os.getpid()
    return [each for each in stats if each.parent == self_pid and each.session != ours]


def _told(children: Iterable[ProcessStat]) -> Children:
    ended: set[int] = set()
    alive: set[int] = set()
    for each in children:
        (ended if each.zombie else alive).add(each.pid)
    return Children(frozenset(ended), frozenset(alive))


def _swept_blindly(sweeps: Sequence[Sweep]) -> Children:
    """Where no file is left to look with: kills the leaders' groups, which gives files back, and looks later."""
    for each in sweeps:
        with suppress(OSError):
            os.killpg(each.leader, signal.SIGKILL)
        each.saw_nothing()
    time.sleep(_LOOK_AGAIN_MS / 1000)
    return Children()


def _kill(targets: Sequence[ProcessStat]) -> None:
    """Kills processes, and waits until the kernel has taken them down (or for a tenth of a second).

    Of many, only some are waited for: each that is takes a file meanwhile.
    """
    pinned: list[int] = []
    try:
        for each in targets:
            if (fd := _killed(each)) is None:
                continue
            if len(pinned) < _WAITED_FOR_LIMIT:
                pinned.append(fd)
            else:
                os.close(fd)
    finally:
        _poll_ends(pinned, _DIES_WITHIN_MS)


def _wait_for_ends(targets: Sequence[ProcessStat], limit_ms: int) -> None:
    """Waits so long, or until all of these have ended."""
    pinned = []
    for each in targets[:_WAITED_FOR_LIMIT]:
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


def _killed(stat: ProcessStat) -> int | None:
    """Kills one process. Returns a descriptor of it, which tells its end; None where it was gone already."""
    try:
        fd = os.pidfd_open(stat.pid)
        with ExitStack() as unless_killed:
            unless_killed.callback(os.close, fd)
            # The descriptor pins the process; only now is it sure that the pid is still the one that was seen.
            now = _stat(stat.pid)
            if now is not None and now.started == stat.started:
                signal.pidfd_send_signal(fd, signal.SIGKILL)
                unless_killed.pop_all()
                return fd
    except OSError as error:
        return _gone(error, None)
    return None


def _processes() -> Iterator[ProcessStat]:
    with os.scandir("/proc") as entries:
        pids = [int(entry.name) for entry in entries if entry.name.isdigit()]
    for pid in pids:
        if (stat := _stat(pid)) is not None:
            yield stat


def _stat(pid: int) -> ProcessStat | None:
    raw = _read(f"/proc/{pid}/stat")
    if not raw:
        return None
    # The name in parentheses may itself hold spaces and parentheses: what counts comes after the last one.
    fields = raw[raw.rindex(b")") + 2 :].split(maxsplit=20)
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
    environ = _read(f"/proc/{pid}/environ")
    if not environ:
        # One whose first thread has ended shows its environment by the others.
        for thread in _threads(pid):
            if more := _read(f"/proc/{pid}/task/{thread}/environ"):
                environ = more
                break
    if not environ:
        return "" if environ is None else None
    prefix = f"{MARK}=".encode()
    for item in environ.split(b"\0"):
        if item.startswith(prefix):
            return item[len(prefix) :].decode("ascii", "replace")
    return ""


def _threads(pid: int) -> list[str]:
    try:
        with os.scandir(f"/proc/{pid}/task") as entries:
            return [entry.name for entry in entries]
    except OSError as error:
        return _gone(error, [])


def _read(path: str) -> bytes | None:
    """A file of /proc; None where its process is gone, or is not ours to look into."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        return _gone(error, None)
    try:
        parts = []
        while part := os.read(fd, _READ_BYTES):
            parts.append(part)
        return b"".join(parts)
    except OSError as error:
        return _gone(error, None)
    finally:
        os.close(fd)


def _gone(error: OSError, nothing: T) -> T:
    """What is seen of a process that is not there; but that nothing can be seen at all is no sight of nothing."""
    if error.errno in _SCARCE:
        raise error
    return nothing
