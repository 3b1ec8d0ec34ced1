"""What runs of trees of processes: one look at all of /proc, for all who ask.

It costs as much as the machine has processes, and is for counting: what it does not see may be there all the same.
Must not signal anything: `tree` ends trees, and knows them in another way. Blocking. Linux only.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence

from clawdforge.server.agents import marks, proc


class Sight:
    """All processes at one time, which is when the first of those who ask does."""

    def __init__(self) -> None:
        self._children: defaultdict[int, list[int]] | None = None
        self._marked: defaultdict[str | int, list[int]] = defaultdict(list)

    def pids_of(self, leader: int, mark: str, number: int) -> Sequence[int]:
        """What runs of a tree, or has ended and was not reaped. Raises OSError where nothing can be seen."""
        children = self._look()
        found: set[int] = set()
        new = {leader, *self._marked[mark], *self._marked[number]}
        while new:
            found |= new
            new = {child for pid in new for child in children[pid]} - found
        return sorted(found)

    def _look(self) -> defaultdict[int, list[int]]:
        if self._children is None:
            self._children = defaultdict(list)
            self_pid, ours = os.getpid(), os.getsid(0)
            for each in proc.processes():
                self._children[each.parent].append(each.pid)
                if each.parent in (self_pid, 1) and each.session != ours:
                    mark = marks.number_of(each.pid) or proc.variable(each.pid, marks.VARIABLE)
                    self._marked[mark].append(each.pid)
        return self._children
