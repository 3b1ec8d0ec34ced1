"""Keeps a started child within its limits, and says at its end which of them ended it.

Must not end it: whoever has started it does, when it is told to.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable

from clawdforge.server.agents.spawner import Command, Spawned, Spawner
from clawdforge.server.agents.watchdog import Watched
from clawdforge.server.sandbox import limits
from clawdforge.server.sandbox.base import LimitName
from clawdforge.server.sandbox.limits import Exceeded


class Keeper:
    """Of one child. `begin`, `leader_ended` and `why` are called once each, on the loop, in this order.

    Args:
        spawner: who has started it.
        spawned: the child.
        command: how it was started.
        end: kills it with all that it has started; is called when it has passed a limit.
    """

    def __init__(self, spawner: Spawner, spawned: Spawned, command: Command, end: Callable[[], object]) -> None:
        self._limits = spawner.bounds.limits
        self._watchdog = spawner.watchdog
        self._group = spawned.group
        self._end = end
        self._loop = asyncio.get_running_loop()
        self._exceeded: Exceeded | None = None
        self._met: LimitName | None = None
        space = command.space
        directories = (space.workspace, space.home, space.files)
        self._watched = Watched(spawned.pids, directories, spawner.bounds.rest, self._on_exceeded)

    def begin(self) -> None:
        """Keeps it from here on."""
        self._watchdog.watch(self._watched)
        if self._group is not None and self._group.alarm is not None:
            self._loop.add_reader(self._group.alarm, self._on_alarm)

    def leader_ended(self) -> None:
        """Sees what was met until then, and keeps it no more: it is being ended, and its group removed."""
        self._watchdog.leave(self._watched)
        if self._group is not None:
            self._forget_alarm()
            self._met = self._group.reached()

    def why(self, exit_code: int) -> Exceeded | None:
        """The limit for which it has ended, by itself or by us; None where there was none."""
        if self._exceeded is not None:
            return self._exceeded
        if self._met == "memory" and self._limits.memory_bytes is not None:
            return limits.memory(self._limits.memory_bytes)
        if exit_code == -signal.SIGXFSZ and self._limits.file_bytes is not None:
            return limits.file(self._limits.file_bytes)
        if self._met == "processes" and self._limits.processes is not None:
            return limits.no_more_processes(self._limits.processes)
        return None

    def _on_alarm(self) -> None:
        """Something in the group is killed for its memory: no agent lives on half dead."""
        assert self._group is not None
        assert self._group.alarm is not None
        assert self._limits.memory_bytes is not None
        os.eventfd_read(self._group.alarm)
        if self._group.alarmed():
            self._forget_alarm()
            self._on_exceeded(limits.memory(self._limits.memory_bytes))

    def _on_exceeded(self, exceeded: Exceeded) -> None:
        if self._exceeded is None:
            self._exceeded = exceeded
            self._end()

    def _forget_alarm(self) -> None:
        assert self._group is not None
        if self._group.alarm is not None:
            self._loop.remove_reader(self._group.alarm)
