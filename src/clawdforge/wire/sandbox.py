"""What agents stand behind: as every answer tells it that speaks of agents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SandboxLevel = Literal["bwrap", "landlock", "none"]
SandboxNetwork = Literal["open", "none"]


@dataclass(frozen=True, slots=True)
class Sandbox:
    """The wall in force. What each level promises is in `SECURITY.md`.

    Attributes:
        level: `bwrap` (namespaces), `landlock`, or `none`: no wall at all.
        network: `open` (all of the machine's), or `none` (no way out but to the agent's model).
    """

    level: SandboxLevel
    network: SandboxNetwork
