"""Finds and ends every process that a child started, wherever it went.

A child is the leader of a session of its own, and carries a mark in its environment that its descendants
inherit. A descendant is known by its parents, by the leader's session or group, or, when it has left all of
these, by the mark. Must only ever signal processes that one of these names, and never one by its name.

Blocking (it reads /proc): call it from a thread. Linux only.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from clawdforge.server.agents import proc
from clawdforge.server.agents.proc import ProcessStat

MARK: Final = "CLAWDFORGE_CHILD"
_PR_SET_CHILD_SUBREAPER: Final = 36
_QUIET_LOOKS: Final = 2
_UNCLEAR_S: Final = 1.0
_LOOK_AGAIN_MS: Final = 2
_STRAY_LOOKS: Final = 20
_MARKED_END_WITHIN_S: Final = 10.0


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
            proc.kill(targets)
        elif look.unclear:
            proc.wait_for_ends(look.unclear, _LOOK_AGAIN_MS)
    except OSError as error:
        if error.errno not in proc.SCARCE:
            raise
        return _swept_blindly(sweeps)
    return look.children()


def end_marked(mark_prefix: str) -> list[int]:
    """Kills every process whose mark begins so: what an earlier life of this gateway left. Returns the pids."""
    pids: set[int] = set()
    quiet_looks = 0
    give_up_at = time.monotonic() + _MARKED_END_WITHIN_S
    while quiet_looks < _QUIET_LOOKS and time.monotonic() < give_up_at:  # they may start others meanwhile
        found = [each for each in proc.processes() if (_mark_of(each.pid) or "").startswith(mark_prefix)]
        proc.kill(found)
        pids.update(each.pid for each in found)
        quiet_looks = 0 if found else quiet_looks + 1
    return sorted(pids)


def end_strays() -> Children:
    """Kills our children that show no mark: daemons of an agent, which they outlive without its environment.

    Whose they are cannot be told. So this is for when no agent runs, and none is being started. Returns the
    children that are left.
    """
    for _ in range(_STRAY_LOOKS):  # the children of one become ours when it ends
        children = _children_of(proc.processes())
        found = [each for each in children if not each.zombie and not _mark_of(each.pid)]
        if not found:
            break
        proc.kill(found)
    return _told(children)


class _Look:
    """All processes at one time, and by what they can be known.

    Attributes:
        stats: every process, by its pid.
        unclear: children of ours that show no environment: they are about to start another program.
    """

    def __init__(self) -> None:
        self.stats: Mapping[int, ProcessStat] = {each.pid: each for each in proc.processes()}
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


def _mark_of(pid: int) -> str | None:
    """The mark of a process; "" where it has none, None where it does not show its environment (yet)."""
    return proc.variable(pid, MARK)
