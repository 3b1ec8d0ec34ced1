"""Ends every process that a child started, wherever it went.

A child is the leader of a session of its own. When a process of its tree ends, what that had started becomes a
child of this process (`adopt_orphans`), which alone can reap it then; it is known by its marks. So a tree is
taken down from its top: whatever is killed uncovers what was below it. In a pid namespace the first process takes
all others with it.

Must only ever signal what is of the tree, and never a process by its name. Blocking: call it from a thread. Linux
only.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from clawdforge.server.agents import marks, proc

_PR_SET_CHILD_SUBREAPER: Final = 36
_QUIET_LOOKS: Final = 2
_DIES_WITHIN_MS: Final = 5
_ROUNDS: Final = 10
_LOOK_AGAIN_S: Final = 0.002


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

    def saw(self, found: Sequence[int]) -> None:
        """Takes what a look has found. Only what two looks do not see is not there: children can be missed while
        others end."""
        self._quiet_looks = 0 if found else self._quiet_looks + 1
        self.left = found
        self.over = self._quiet_looks == _QUIET_LOOKS or self._lasted_s() > self.within_s

    def saw_nothing(self) -> None:
        """Takes that a look could not be taken, which says nothing of what runs."""
        self.left = [self.leader]
        self.over = self._lasted_s() > self.within_s

    def _lasted_s(self) -> float:
        return time.monotonic() - self._began


def adopt_orphans() -> None:
    """Makes this process the parent of descendants whose own parents die.

    Source: prctl(2), PR_SET_CHILD_SUBREAPER.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER) failed")


def sweep(sweeps: Sequence[Sweep], spared: Collection[int]) -> None:
    """Looks for these trees, and kills and reaps what it finds, until one of them is over, or for some rounds.

    Args:
        spared: the leaders that live, of these trees and others.
    """
    for _ in range(_ROUNDS):
        try:
            _strike(sweeps, spared)
        except OSError as error:
            if error.errno not in proc.SCARCE:
                raise
            _strike_blindly(sweeps)
        if any(each.over for each in sweeps):
            break


def ask_to_end(leader: int, *, contained: bool) -> None:
    """Sends SIGTERM to an agent that was not reaped yet, and to its group; of one in a namespace, to it alone.

    The leader itself, behind such a wall, would take the agent with it at once. Where no file is left to look
    with, the agent is not asked.
    """
    if not contained:
        with suppress(ProcessLookupError):
            os.killpg(leader, signal.SIGTERM)
        return
    try:
        for first in proc.children(leader):
            agents = proc.children(first)[:1]  # what was left to the first process comes after it
            _signal_children(first, agents, signal.SIGTERM)
    except OSError as error:
        if error.errno not in proc.SCARCE:
            raise


def reap_orphans(spared: Collection[int]) -> None:
    """Reaps what has ended of what this process has adopted.

    Args:
        spared: all that it has started itself and not reaped yet.
    """
    for pid, _ in _adopted(spared):
        _reap(pid)


def end_strays() -> None:
    """Kills all that this process has adopted: with or without marks, which can be put off.

    Whose it is without them cannot be told. So this is for when no agent runs, and none is being started.
    """
    for _ in range(_ROUNDS):  # what one has started becomes ours when it ends
        found = [pid for pid, _ in _adopted(())]
        if not found:
            break
        for pid in found:
            _kill_group(pid)
        proc.wait_for_ends(found, _DIES_WITHIN_MS)
        for pid in found:
            _reap(pid)


def _strike(sweeps: Sequence[Sweep], spared: Collection[int]) -> None:
    """One round. The leaders come first: what they start is ours before they are seen to have ended."""
    found = {each: _top(each) for each in sweeps}
    for each, top in found.items():
        if top == [each.leader]:
            os.killpg(each.leader, signal.SIGKILL)
        else:
            _signal_children(each.leader, top, signal.SIGKILL)
    orphans = []
    for pid, number in _adopted(spared):
        for each in sweeps:
            if number == each.number or (number is None and proc.variable(pid, marks.VARIABLE) == each.mark):
                _kill_group(pid)
                orphans.append(pid)
                found[each].append(pid)
    for each in sweeps:
        each.saw(found[each])
    # A contained leader ends by itself, right after its child.
    leaders = [each.leader for each in sweeps if each.left]
    proc.wait_for_ends([*leaders, *(pid for each in sweeps for pid in each.left)], _DIES_WITHIN_MS)
    for pid in orphans:
        _reap(pid)


def _top(tree: Sweep) -> list[int]:
    """What is to be killed first: none once the leader has ended.

    Of a namespace it is its first process. The leader ends by itself after that, and tells how its agent ended.
    """
    if _ended(tree.leader):
        return []
    return (proc.children(tree.leader) if tree.contained else []) or [tree.leader]


def _adopted(spared: Collection[int]) -> Iterator[tuple[int, int | None]]:
    """This process's children by adoption, and the number that each bears: what runs, then what has ended.

    The newest first: they may be about to start another and end. Nobody else can reap these, so each stays who it
    is. A session is started by one process, so all that is in it bears the same number.
    """
    ours = os.getsid(0)
    numbers: dict[int, int | None] = {}
    ended = []
    for pid in reversed(proc.children(os.getpid())):
        # What is no orphan may be reaped by whoever has started it. It is in our session, which no orphan is.
        with suppress(ProcessLookupError, ChildProcessError):
            if pid in spared or (session := os.getsid(pid)) == ours:
                continue
            if _ended(pid):
                ended.append((pid, session))
                continue
            if numbers.get(session) is None:
                numbers[session] = marks.number_of(pid)
            yield pid, numbers[session]
    for pid, session in ended:
        yield pid, numbers.get(session) or marks.number_of(pid)


def _kill_group(pid: int) -> None:
    """Kills an adopted process with its group: so one that starts another and ends does not get away."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(os.getpgid(pid), signal.SIGKILL)


def _signal_children(parent: int, pids: Iterable[int], number: signal.Signals) -> None:
    for each in proc.stats(pids):
        if each.parent == parent and (pinned := proc.sent(each, number)) is not None:
            os.close(pinned)


def _ended(child: int) -> bool:
    """Whether a child of ours has ended, all of its threads. It is not reaped."""
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _reap(pid: int) -> None:
    """Where it has ended."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _strike_blindly(sweeps: Sequence[Sweep]) -> None:
    """Where no file is left to look with: kills the leaders' groups, which gives files back, and looks later."""
    for each in sweeps:
        with suppress(OSError):
            os.killpg(each.leader, signal.SIGKILL)
        each.saw_nothing()
    time.sleep(_LOOK_AGAIN_S)
