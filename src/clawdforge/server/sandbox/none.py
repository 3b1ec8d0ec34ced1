"""No wall at all: the agent runs as the gateway's own user, and reads and writes what that user can.

For machines that are walls themselves, and only where the settings say so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from clawdforge.server.sandbox.base import Enclosed, Level, Space


class NoWall:
    """`none` (`base.Wall`)."""

    level: Final[Level] = "none"

    def enclose(self, argv: Sequence[str], env: Mapping[str, str], space: Space) -> Enclosed:
        """The command as it is."""
        return Enclosed(
            level="none",
            argv=tuple(argv),
            env={**env, "HOME": str(space.home), "TMPDIR": str(space.files)},
            cwd=space.workspace,
            agent_cwd=str(space.workspace),
            agent_home=str(space.home),
            agent_tmp=str(space.files),
        )

    def close(self) -> None:
        """There is nothing that it holds."""
