"""A place in which whatever runs, and must not, leaves a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from clawdforge import Session


@dataclass(frozen=True)
class Trap:
    """A directory of a session's workspace, for that is all that both sides of a wall see.

    `here` is its path on this machine, `there` the agent's.
    """

    here: Path
    there: str

    @classmethod
    def laid_in(cls, session: Session) -> Trap:
        """A new one, open to whoever the agent is."""
        here = Path(session.cwd) / "trap"
        here.mkdir()
        here.chmod(0o777)
        return cls(here, f"{session.agent_cwd}/{here.name}")

    def sprung(self) -> list[str]:
        """The files that are in it."""
        return sorted(each.name for each in self.here.iterdir())
