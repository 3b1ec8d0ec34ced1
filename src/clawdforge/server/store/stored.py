"""What is stored: a value for each kind of row. Must not know how, nor why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

SessionKind = Literal["session", "run"]
TurnStatus = Literal["queued", "running", "done", "failed"]


@dataclass(frozen=True, slots=True)
class AppRow:
    """A tenant. `token_sha256` is the hash of its token, 32 bytes. Times are epoch seconds."""

    app_id: str
    name: str
    token_sha256: bytes
    ip_cidrs: tuple[str, ...]
    created_at: int
    last_used_at: int | None = None
    revoked_at: int | None = None


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A session, or a run: a session of one turn. Times are epoch seconds.

    `options` is what the caller chose about the agent, `meta` what the app noted for itself; both JSON objects.
    `agent_session_id` is the agent's own word for the conversation that it keeps in its home, if it has one.
    `forked_from` says of a fork which session it was made of, after which turn, and what that one's
    `agent_session_id` was: `{session_id, turn_index, agent_session_id}`.
    """

    session_id: str
    app_id: str
    app_name: str
    kind: SessionKind
    agent: str
    cwd: str
    options: dict[str, Any]
    meta: dict[str, Any]
    created_at: int
    last_turn_at: int | None = None
    turn_count: int = 0
    closed_at: int | None = None
    close_reason: str | None = None
    agent_session_id: str | None = None
    forked_from: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class TurnRow:
    """One accepted prompt. `status` is `queued` or `running` until the turn ends, then `done` or `failed`.

    `started_at_ms` is when it was accepted until it runs, then when that began. `error` is the code of the error
    that a failed turn was answered with, `detail` its sentence, `extra` whatever else its answer had that is not
    in its events, a JSON object. `usage` is a `wire.usage.Usage` as a JSON object, `model` what the caller chose,
    else what the agent told.
    """

    session_id: str
    turn_index: int
    status: TurnStatus
    started_at_ms: int
    stop_reason: str | None = None
    ok: bool | None = None
    duration_ms: int | None = None
    error: str | None = None
    detail: str | None = None
    usage: dict[str, Any] | None = None
    model: str | None = None
    extra: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run: a session of the kind `run`, and its one turn."""

    session: SessionRow
    turn: TurnRow


@dataclass(frozen=True, slots=True)
class UploadRow:
    """An uploaded file. `token` is its `ff_…` name; the bytes lie under their hash. Times are epoch seconds."""

    token: str
    app_id: str
    name: str
    size: int
    sha256: str
    created_at: int
    expires_at: int


@dataclass(frozen=True, slots=True)
class KeyRow:
    """What came of the first POST with an idempotency key. `created_at` is epoch seconds.

    `fingerprint` is the hash of what was asked, 32 bytes. `answer` is what was answered; of a turn it is None, and
    `turn_index` says which one it was.
    """

    app_id: str
    key: str
    fingerprint: bytes
    created_at: int
    session_id: str | None = None
    turn_index: int | None = None
    answer: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class AuditRow:
    """Who had which agent do work, when, how it ended, and what it took (see `wire.usage`).

    `prompt` only where the settings ask for it.
    """

    at_ms: int
    app_id: str
    app_name: str
    kind: SessionKind
    session_id: str
    turn_index: int
    agent: str
    model: str | None
    duration_ms: int
    stop_reason: str
    ok: bool
    prompt_bytes: int
    answer_bytes: int
    files: int
    input_tokens: int
    output_tokens: int
    cached_read_tokens: int
    cached_write_tokens: int
    thought_tokens: int
    total_tokens: int
    cost_usd: float | None
    estimated: bool
    prompt: str | None = None
