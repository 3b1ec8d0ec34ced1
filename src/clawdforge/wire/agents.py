"""What a caller may choose about an agent, and what the gateway tells of the agents that it knows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Final, Literal

from clawdforge.wire.bounds import Length, Range
from clawdforge.wire.sandbox import Sandbox

SystemMode = Literal["append", "replace"]
Effort = Literal["low", "medium", "high", "xhigh", "max"]
PermissionPolicy = Literal["allow", "workspace", "reads", "ask", "deny"]
StoryEnd = Literal["works", "fails", "cannot"]
NAME_LIMIT_CHARS: Final = 200
Name = Annotated[str, Length(1, NAME_LIMIT_CHARS)]
"""What an agent, a model or a mode can be called."""
Seconds = Annotated[int, Range(1, 86_400)]


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentOptions:
    """The part that a run and a session have in common: which agent, and how it shall work.

    None always means: what the gateway's settings, or else the agent itself, would do. `schema` is a JSON Schema
    that results shall fit.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    agent: Name = "claude"
    model: Name | None = None
    system: Annotated[str, Length(1)] | None = None
    system_mode: SystemMode | None = None
    effort: Effort | None = None
    mode: Name | None = None
    permissions: PermissionPolicy | None = None
    permission_timeout_secs: Seconds | None = None
    startup_timeout_secs: Seconds | None = None
    idle_timeout_secs: Seconds | None = None
    timeout_secs: Seconds | None = None
    schema: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class AgentCapabilities:
    """What a caller may choose of an agent, and what it is known to lack.

    Attributes:
        model: whether it takes one.
        system_modes: how it takes a system prompt.
        efforts: those that it knows. Which of them a model takes, the agent says when it starts: another is 422.
        images: whether a prompt may hold images; None until the agent has been started.
        ask_mode: the mode in which it asks before it acts, set at every start; None: its own.
        lacks: what it cannot do, by a name for it, and why.
    """

    model: bool = True
    system_modes: tuple[SystemMode, ...] = ("append",)
    efforts: tuple[Effort, ...] = ()
    images: bool | None = None
    ask_mode: str | None = None
    lacks: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StoryOutcome:
    """How one story of `clawdforge agents test` ended. `why` is None exactly where it works."""

    story: str
    title: str
    outcome: StoryEnd
    duration_ms: int
    why: str | None = None


@dataclass(frozen=True, slots=True)
class AgentTested:
    """The outcome of the last `clawdforge agents test` of an agent. `at` is in epoch seconds."""

    version: str | None
    at: int
    stories: tuple[StoryOutcome, ...]


@dataclass(frozen=True, slots=True)
class AgentInfo:
    """One agent of the catalog: can it be started here, and if not, what to do.

    Attributes:
        reason: None exactly when `available`; else a sentence that ends with what mends it.
        modes, models: what the agent itself offered when it was started last; None before.
        login: how a person logs it in; None where no login is known of.
        tested: None where this version was not tested here.
    """

    name: str
    title: str
    available: bool
    reason: str | None = None
    version: str | None = None
    modes: tuple[str, ...] | None = None
    models: tuple[str, ...] | None = None
    capabilities: AgentCapabilities = field(default_factory=AgentCapabilities)
    login: str | None = None
    tested: AgentTested | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentAnswer(AgentInfo):
    """Answer of `GET /agents/{name}`: the agent as it stands in the list, and `ok`."""

    ok: bool


@dataclass(frozen=True, slots=True)
class AgentPage:
    """Answer of `GET /agents`: the whole catalog, by name, and what all of them run behind."""

    ok: bool
    agents: list[AgentInfo]
    count: int
    sandbox: Sandbox
