"""Finds and ends every process that a child started, wherever it went.

A child is the leader of a session of its own. A descendant is known by its parents, by the leader's session or
group, or, when it has left all of these, by its marks (`marks`). In a pid namespace nothing has to be looked for:
its first process takes all others with it. Must only ever signal processes that one of these names, and never one
by its name.

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
from functools import cached_property
from typing import Final

from clawdforge.server.agents import marks, proc
from clawdforge.server.agents.proc import ProcessStat

_PR_SET_CHILD_SUBREAPER: Final = 36
_QUIET_LOOKS: Final = 2
_LOOK_AGAIN_S: Final = 0.002
_STRAY_LOOKS: Final = 20
_HUNT_S: Final = 0.2


@dataclass(eq=False, slots=True)
class Sweep:
    """A tree that is being ended, look by look. Its leader must not be reaped before the sweep is over.

    Until then the kernel gives the leader's pid to no other process, session or group: what bears it is ours.

    Attributes:
        mark: the variable that it was started with.
        number: the number that it was started with.
        contained: it is in a pid namespace, whose first process is the leader's only child.
        over: whether the tree is gone, or its time is up.
        left: the pids that still run: none, unless the kernel holds one, or one starts others faster than they
            can be ended.
    """

    leader: int
    mark: str
    number: int
    contained: bool = False
    within_s: float = 5.0
    over: bool = False
    left: Sequence[int] = ()
    _began: float = field(default_factory=time.monotonic)
    _quiet_looks: int = 0

    def saw(self, alive: Sequence[int]) -> None:
        """Takes what a look has found. Only what two looks do not see is not there: processes start and end while
        /proc is being read."""
        self._quiet_looks = 0 if alive else self._quiet_looks + 1
        self.left = alive
        self.over = self._quiet_looks == _QUIET_LOOKS or self._lasted_s() > self.within_s

    def saw_nothing(self) -> None:
        """Takes that a look could not be taken, which says nothing of what runs."""
        self.left = [self.leader]
        self.over = self._lasted_s() > self.within_s

    def _lasted_s(self) -> float:
        return time.monotonic() - self._began


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
    """Takes one look for all of these trees, and kills what it finds of them. Returns the children it saw.

    They stand behind walls of one kind.
    """
    try:
        near = all(each.contained for each in sweeps) and proc.tells_children()
        look: _NearLook | _Look = _NearLook() if near else _Look()
        targets = []
        for each in sweeps:
            found = look.alive_of(each)
            each.saw([process.pid for process in found])
            targets += found
        if targets:
            proc.kill(targets)
            _hunt(sweeps)
    except OSError as error:
        if error.errno not in proc.SCARCE:
            raise
        return _swept_blindly(sweeps)
    return _told(look.children())


def ask_to_end(leader: int, *, contained: bool) -> None:
    """Sends SIGTERM to an agent that was not reaped yet, and to its group; of one in a namespace, to it alone.

    The leader itself, behind such a wall, would take the agent with it at once. Where no file is left to look
    with, it is not asked.
    """
    if not contained:
        with suppress(ProcessLookupError):
            os.killpg(leader, signal.SIGTERM)
        return
    try:
        _ask_within(leader)
    except OSError as error:
        if error.errno not in proc.SCARCE:
            raise


def _ask_within(leader: int) -> None:
    for first in proc.children(leader):
        for agent in proc.children(first)[:1]:  # what it has left to the first process comes after it
            seen = proc.stat_of(agent)
            if seen is None or seen.parent != first:
                continue
            if (pinned := proc.sent(seen, signal.SIGTERM)) is not None:
                os.close(pinned)


def end_strays() -> Children:
    """Kills our children that bear no mark: they have put off what ties them to an agent, which they outlive.

    Whose they are cannot be told. So this is for when no agent runs, and none is being started. Returns the
    children that are left.
    """
    for _ in range(_STRAY_LOOKS):  # the children of one become ours when it ends
        children = _children_of(proc.processes())
        found = [each for each in children if not each.zombie]
        if not found:
            break
        proc.kill(found)
    return _told(children)


class Sight:
    """What can be seen of trees at one time: one look for all who ask, taken when the first of them does."""

    def pids_of(self, leader: int, mark: str, number: int) -> Sequence[int]:
        """What runs of a tree. Raises OSError where nothing can be seen."""
        return [process.pid for process in self._look.alive_of(Sweep(leader, mark, number))]

    @cached_property
    def _look(self) -> _Look:
        return _Look()


class _NearLook:
    """Our children and the leaders', in no time: all that there is to see of trees in namespaces."""

    def __init__(self) -> None:
        self._children = _children_of(proc.stats(proc.children(os.getpid())))

    def alive_of(self, tree: Sweep) -> list[ProcessStat]:
        """The first process of a tree's namespace, which is ours once its leader has ended; else the leader.

        The leader ends by itself after the other, and tells how its agent ended.
        """
        leader = proc.stat_of(tree.leader)
        first = [each for each in proc.stats(proc.children(tree.leader)) if each.parent == tree.leader]
        first += [each for each in self._children if each.pid != tree.leader and _is_of(each.pid, tree)]
        alive = [each for each in first if not each.zombie]
        if alive or leader is None or leader.zombie:
            return alive
        return [leader]

    def children(self) -> list[ProcessStat]:
        """This process's own."""
        return self._children


class _Look:
    """All processes at one time, and by what they can be known."""

    def __init__(self) -> None:
        self._stats: Mapping[int, ProcessStat] = {each.pid: each for each in proc.processes()}
        self._by_parent: defaultdict[int, list[int]] = defaultdict(list)
        self._by_leader: defaultdict[int, list[int]] = defaultdict(list)
        self._by_mark: defaultdict[str | int, list[int]] = defaultdict(list)
        ours, self_pid = os.getsid(0), os.getpid()
        for each in self._stats.values():
            self._by_parent[each.parent].append(each.pid)
            self._by_leader[each.session].append(each.pid)
            self._by_leader[each.group].append(each.pid)
            # Only what has lost its parents needs the costlier look at its marks. A parent that is not there has
            # ended while this look was taken.
            if each.session != ours and (each.parent in (self_pid, 1) or each.parent not in self._stats):
                mark = marks.number_of(each.pid) or proc.variable(each.pid, marks.VARIABLE)
                self._by_mark[mark].append(each.pid)

    def alive_of(self, tree: Sweep) -> list[ProcessStat]:
        """What runs of a tree, its leader too."""
        new = {*self._by_leader[tree.leader], *self._by_mark[tree.mark], *self._by_mark[tree.number]}
        if tree.leader in self._stats:
            new.add(tree.leader)
        found = set(new)
        while new:
            new = {child for pid in new for child in self._by_parent[pid]} - found
            found |= new
        return [self._stats[pid] for pid in found if not self._stats[pid].zombie]

    def children(self) -> list[ProcessStat]:
        """This process's own."""
        return _children_of(self._stats.values())


def _hunt(sweeps: Sequence[Sweep]) -> None:
    """Kills orphans of these trees for as long as there are new ones, and reaps them.

    What starts another and ends is gone before a look at all processes comes to it. But what it has started is a
    child of ours by then, and these are seen at once.
    """
    ours, leaders = os.getsid(0), {each.leader for each in sweeps}
    give_up_at = time.monotonic() + _HUNT_S
    while time.monotonic() < give_up_at:
        orphans = [
            each.pid
            for each in proc.stats(proc.children(os.getpid()))
            if each.session != ours and each.pid not in leaders and any(_is_of(each.pid, tree) for tree in sweeps)
        ]
        if not orphans:
            break
        for pid in orphans:  # nobody else can reap these, so each is still who it was
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


def _is_of(pid: int, tree: Sweep) -> bool:
    found = marks.number_of(pid)
    return found == tree.number if found is not None else proc.variable(pid, marks.VARIABLE) == tree.mark


def _children_of(processes: Iterable[ProcessStat]) -> list[ProcessStat]:
    """A leader has a session of its own, and nothing that it starts can ever come back to ours."""
    ours, self_pid = os.getsid(0), os.getpid()
    return [each for each in processes if each.parent == self_pid and each.session != ours]


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
    time.sleep(_LOOK_AGAIN_S)
    return Children()
