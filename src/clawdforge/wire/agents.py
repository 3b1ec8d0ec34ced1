"""What a caller may choose about an agent, and what the gateway tells of the agents that it knows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from clawdforge.wire.bounds import Length, Range

SystemMode = Literal["append", "replace"]
Effort = Literal["low", "medium", "high", "xhigh", "max"]
PermissionPolicy = Literal["allow", "workspace", "reads", "deny"]
Name = Annotated[str, Length(1, 200)]
Seconds = Annotated[int, Range(1, 86_400)]


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentOptions:
    """The part that a run and a session have in common: which agent, and how it shall work.

    None always means: what the gateway's settings, or else the agent itself, would do.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    agent: Name = "claude"
    model: Name | None = None
    system: Annotated[str, Length(1)] | None = None
    system_mode: SystemMode | None = None
    effort: Effort | None = None
    mode: Name | None = None
    permissions: PermissionPolicy | None = None
    idle_timeout_secs: Seconds | None = None


@dataclass(frozen=True, slots=True)
class AgentInfo:
    """One agent of the catalog: can it be started here, and if not, what to do.

    `reason` is None exactly when `available`; else a sentence that ends with what mends it.
    """

    name: str
    title: str
    available: bool
    reason: str | None = None
    version: str | None = None
    capabilities: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentAnswer(AgentInfo):
    """Answer of `GET /agents/{name}`: the agent as it stands in the list, and `ok`."""

    ok: bool


@dataclass(frozen=True, slots=True)
class AgentPage:
    """Answer of `GET /agents`: the whole catalog, by name."""

    ok: bool
    agents: list[AgentInfo]
    count: int
