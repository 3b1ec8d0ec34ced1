"""Sessions: conversations of many turns with one agent in one workspace. Times are epoch seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from clawdforge.wire.agents import AgentOptions
from clawdforge.wire.sandbox import Sandbox


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionCreate(AgentOptions):
    """Body of `POST /sessions`. `meta` is the app's own and comes back as it was given."""

    meta: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class SessionCreated:
    """Answer of `POST /sessions`: the agent has started.

    `cwd` is the workspace's path on the host, `agent_cwd` what the agent sees; `sandbox` what it stands behind,
    None from a gateway that has no walls.
    """

    ok: bool
    session_id: str
    agent: str
    created_at: int
    cwd: str
    agent_cwd: str
    sandbox: Sandbox | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionFork:
    """Body of `POST /sessions/{id}/fork`. Without `meta` the fork has that of the session."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    meta: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ForkedFrom:
    """Where a fork comes from: a session, and the last turn of it that is the fork's, too; 0 before any."""

    session_id: str
    turn_index: int


@dataclass(frozen=True, slots=True)
class SessionForked(SessionCreated):
    """Answer of `POST /sessions/{id}/fork`: all is copied; the fork's agent starts with its next turn."""

    forked_from: ForkedFrom | None = None


@dataclass(frozen=True, slots=True)
class SessionItem:
    """A row of `GET /sessions`; `sandbox` is what its agent stands behind."""

    session_id: str
    app_name: str
    agent: str
    cwd: str
    created_at: int
    last_turn_at: int | None
    turn_count: int
    closed_at: int | None
    meta: dict[str, Any]
    sandbox: Sandbox


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """Answer of `GET /sessions/{id}`.

    `live` is true while the session is open, its agent awake or not; `sandbox` is what its agent stands behind.
    `forked_from` is there where the session is a fork.
    """

    ok: bool
    session_id: str
    agent: str
    cwd: str
    created_at: int
    last_turn_at: int | None
    turn_count: int
    closed_at: int | None
    live: bool
    meta: dict[str, Any]
    app_name: str
    agent_cwd: str
    sandbox: Sandbox
    model: str | None = None
    permissions: str | None = None
    close_reason: str | None = field(default=None, metadata={"omit_none": True})
    forked_from: ForkedFrom | None = field(default=None, metadata={"omit_none": True})


@dataclass(frozen=True, slots=True)
class SessionPage:
    """Answer of `GET /sessions`, newest first. `next_cursor` is None on the last page."""

    ok: bool
    sessions: list[SessionItem]
    count: int
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class SessionClosed:
    """Answer of `DELETE /sessions/{id}`, the same on every repeat."""

    ok: bool
    session_id: str
