"""No wall at all: the agent reads and writes what its user can, who is the gateway's own, but never root.

For machines that are walls themselves, and only where the settings say so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clawdforge.server.sandbox import becoming, rlimits
from clawdforge.server.sandbox.base import Enclosed, Level, Space, View, in_place


@dataclass(frozen=True, slots=True)
class NoWall:
    """`none` (`base.Wall`).

    Attributes:
        agent_uid: who agents are, where the gateway is root.
        becoming: what makes a command theirs (`becoming.found`); () where only a fork does.
    """

    agent_uid: int | None = None
    becoming: tuple[str, ...] = ()

    level: Level = "none"
    exit_offset: int | None = None

    def prepare_thread(self) -> None:
        """A thread is kept from nothing."""

    def view(self, space: Space) -> View:
        """Everything as it is."""
        return in_place(space)

    def enclose(self, argv: Sequence[str], env: Mapping[str, str], space: Space) -> Enclosed:
        """The command as it is."""
        view = self.view(space)
        own = {"HOME": view.home, "TMPDIR": view.tmp}
        limits = rlimits.values(space.limits, own_users=False)
        return Enclosed(
            tuple(argv),
            {**env, **own},
            space.workspace,
            uid=self.agent_uid,
            becoming=self.becoming if becoming.may_be_told(env) else (),
            rlimits=limits,
        )

    def close(self) -> None:
        """There is nothing that it holds."""
