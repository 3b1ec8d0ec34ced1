"""What each session may take on this machine, and how much of that the kernel keeps."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import Final

from clawdforge.server.sandbox import cgroups
from clawdforge.server.sandbox.base import Limits, WallUnavailable
from clawdforge.server.sandbox.cgroups import Cgroups, NoGroups
from clawdforge.server.sandbox.group import Group

_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Bounds:
    """The limits of every session, and where groups for them are made; None: nowhere.

    Attributes:
        left: the processes of groups that an earlier life of the gateway had left, which were ended.
    """

    limits: Limits = field(default_factory=Limits)
    groups: Cgroups | None = None

    @property
    def rest(self) -> Limits:
        """Those of the limits that no group keeps."""
        if self.groups is None:
            return self.limits
        kept = self.groups.controllers
        return replace(
            self.limits,
            memory_bytes=None if "memory" in kept else self.limits.memory_bytes,
            processes=None if "pids" in kept else self.limits.processes,
            cpu_cores=None if "cpu" in kept else self.limits.cpu_cores,
        )

    @property
    def left(self) -> tuple[int, ...]:
        """See above."""
        return () if self.groups is None else self.groups.ended

    def group(self, session_id: str) -> Group | None:
        """A group for one start of a session's agent. Raises OSError where it cannot be made."""
        return None if self.groups is None else self.groups.make(session_id, self.limits)

    def close(self) -> None:
        """Removes the place of the groups; they must have been removed before."""
        if self.groups is not None:
            self.groups.close()


def find(limits: Limits, gateway_id: str) -> Bounds:
    """Finds out what the kernel can keep of these. Blocking, once.

    Raises:
        WallUnavailable: a limit cannot be kept here in any way; says which, and what mends it.
    """
    groups, why = None, ""
    try:
        groups = cgroups.find(gateway_id)
    except NoGroups as reason:
        why = str(reason)
        _log.info("memory and processes of agents are looked after once a second: no cgroups here: %s", why)
    bounds = Bounds(limits, groups)
    if bounds.rest.cpu_cores is not None:
        bounds.close()
        raise WallUnavailable(
            f"agent_cpu_cores cannot be kept without a cgroup of cpu ({why or 'that controller is missing'}): "
            "leave it out, or give the gateway one (systemd: Delegate=yes)."
        )
    return bounds
