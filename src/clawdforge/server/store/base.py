"""What the gateway keeps: the rows, the changes to them, and the protocol of a store.

A change is a value. Changes written together are one atomic unit; the future that `write` returns is done when
they are durable. No SQL here: a store turns each kind of change into its own statements.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from clawdforge.wire.events import EncodedEvent, Event
from clawdforge.wire.usage import By, UsageReport

SessionKind = Literal["session", "run"]
TurnStatus = Literal["queued", "running", "done", "failed"]


class StorageError(Exception):
    """A change was not stored, and will not be: nothing of its unit is in the store.

    Attributes:
        full: the disk, or a quota of it, has no room left.
    """

    def __init__(self, detail: str, *, full: bool = False) -> None:
        super().__init__(detail)
        self.full = full


class NameTaken(StorageError):
    """A unique name is in use already."""


class StoreUnusable(Exception):
    """The store cannot be opened; the message says why, and what to do."""


# --- rows: what is stored ----------------------------------------------------------------------------------


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


# --- changes: what can be written --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AddApp:
    """Adds an app. NameTaken when an app of that name is not revoked."""

    row: AppRow


@dataclass(frozen=True, slots=True)
class TouchApp:
    """Notes when an app's token was last used. An app that is not there is passed over."""

    app_id: str
    last_used_at: int


@dataclass(frozen=True, slots=True)
class RevokeApp:
    """Takes an app's token out of use; one that is revoked already keeps its time."""

    app_id: str
    revoked_at: int


@dataclass(frozen=True, slots=True)
class AddSession:
    """Adds a session."""

    row: SessionRow


@dataclass(frozen=True, slots=True)
class CopyEvents:
    """Copies the events after `after` up to `last`, about so many bytes, for a session that is to be (`AddFork`).

    Nobody sees them before that. Those for a session that never was are removed once the store is opened again.
    StorageError when there are none.
    """

    source_id: str
    session_id: str
    after: int
    last: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class AddFork:
    """Adds a session that has the turns of another, and the events that were copied for it.

    StorageError when a turn of the other one has not ended, or it has others than the row says.
    """

    source_id: str
    row: SessionRow


@dataclass(frozen=True, slots=True)
class DropCopy:
    """Removes the events that were copied for a session that is not to be, if there are any."""

    session_id: str


@dataclass(frozen=True, slots=True)
class NoteAgentSession:
    """Notes by what id the session's agent knows their conversation; a session that is gone is passed over."""

    session_id: str
    agent_session_id: str | None


@dataclass(frozen=True, slots=True)
class CloseSession:
    """Closes a session; one that is closed keeps its time and reason, one that is gone is passed over."""

    session_id: str
    closed_at: int
    reason: str


@dataclass(frozen=True, slots=True)
class RemoveSession:
    """Removes a session with its turns and events; audit rows stay.

    Nobody sees them any more once this is stored, however many there were; their room on the disk may be given
    back later, piece by piece. A session that is not there is passed over.
    """

    session_id: str


@dataclass(frozen=True, slots=True)
class StartTurn:
    """Adds a running or queued turn, and sets the session's `turn_count` and `last_turn_at` (epoch s) from it.

    StorageError when the session is closed or gone, or the turn does not follow on its last one.
    """

    row: TurnRow


@dataclass(frozen=True, slots=True)
class BeginTurn:
    """Has a queued turn run from `started_at_ms` on. StorageError when it is not queued."""

    session_id: str
    turn_index: int
    started_at_ms: int


@dataclass(frozen=True, slots=True)
class EndTurn:
    """Ends a queued or running turn: status and the fields after `started_at_ms` are taken from the row.

    StorageError when it has ended: a turn ends once.
    """

    row: TurnRow


@dataclass(frozen=True, slots=True)
class AppendEvents:
    """Adds events to a session's log. StorageError when `seq` does not follow on what is there."""

    session_id: str
    events: Sequence[Event]


@dataclass(frozen=True, slots=True)
class AddUpload:
    """Adds an uploaded file."""

    row: UploadRow


@dataclass(frozen=True, slots=True)
class RemoveUpload:
    """Removes an uploaded file's row."""

    token: str


@dataclass(frozen=True, slots=True)
class AddKey:
    """Adds what came of an idempotency key. StorageError when the app has used it."""

    row: KeyRow


@dataclass(frozen=True, slots=True)
class RemoveKeys:
    """Removes all idempotency keys that are older than a time (epoch seconds)."""

    created_before: int


@dataclass(frozen=True, slots=True)
class AddAudit:
    """Adds a line to the audit."""

    row: AuditRow


Change = (
    AddApp
    | TouchApp
    | RevokeApp
    | AddSession
    | CopyEvents
    | AddFork
    | DropCopy
    | NoteAgentSession
    | CloseSession
    | RemoveSession
    | StartTurn
    | BeginTurn
    | EndTurn
    | AppendEvents
    | AddUpload
    | RemoveUpload
    | AddKey
    | RemoveKeys
    | AddAudit
)


class Store(Protocol):
    """One gateway's memory. All methods belong to the gateway's event loop, except where noted."""

    def write(self, *changes: Change, flush: bool = True) -> asyncio.Future[None]:
        """Hands in changes as one atomic unit, in order after every unit handed in before.

        The future is done once they are durable, or has StorageError when they could not be stored; text with
        NUL or half a surrogate pair never is. With `flush=False` they may wait for company: a later flushed
        unit, `linger_s`, or a bound on bytes. A unit of no changes is done when all before it are.
        """

    async def apps(self) -> list[AppRow]:
        """All apps, oldest first."""

    async def session(self, session_id: str) -> SessionRow | None:
        """One session of any app or kind."""

    async def sessions(
        self,
        app_id: str,
        *,
        kind: SessionKind = "session",
        include_closed: bool = True,
        limit: int | None = None,
        before: tuple[int, str] | None = None,
    ) -> list[SessionRow]:
        """An app's sessions, newest first by (`created_at`, order of creation).

        `before` is the (`created_at`, `session_id`) of the last row of the page before.
        """

    async def runs(self, app_id: str, *, limit: int, before: tuple[int, str] | None = None) -> list[RunRow]:
        """An app's runs, in the order of `sessions`."""

    async def run(self, run_id: str) -> RunRow | None:
        """One run of any app; None for a session."""

    async def open_sessions(self) -> list[SessionRow]:
        """Every session and run, of all apps, that is not closed."""

    async def closed_before(self, closed_at: int, limit: int) -> list[SessionRow]:
        """Sessions and runs that were closed before a time, oldest first."""

    async def unfinished_turns(self, session_id: str | None = None) -> list[TurnRow]:
        """Turns, running or queued, that have not ended, of one session or all; those of a session in order.

        After a start they are those that an earlier gateway left.
        """

    async def turn(self, session_id: str, turn_index: int) -> TurnRow | None:
        """One turn."""

    async def turns(self, session_id: str, *, limit: int, before: int | None = None) -> list[TurnRow]:
        """A session's turns, newest first; `before` is the `turn_index` of the last row of the page before."""

    async def key(self, app_id: str, key: str) -> KeyRow | None:
        """What came of an app's idempotency key."""

    async def events(
        self, session_id: str, *, after: int = 0, turn_index: int | None = None, limit: int | None = None
    ) -> list[Event]:
        """A session's events with `seq` greater than `after`, in order."""

    async def encoded_events(
        self, session_id: str, *, after: int = 0, turn_index: int | None = None, limit: int, limit_bytes: int
    ) -> list[EncodedEvent]:
        """The same as they lie in the store: at most `limit`, and none after `limit_bytes` of them."""

    def watch(self, on_stored: Callable[[Sequence[AppendEvents]], None]) -> None:
        """Has `on_stored` called on the loop with all events of each commit, in order, once they are durable."""

    async def permission_answer(self, session_id: str, permission_id: str) -> Event | None:
        """The event that tells what became of a permission request; None where it has none, or there was none."""

    async def last_seq(self, session_id: str) -> int:
        """The greatest `seq` of a session's events, 0 where there are none."""

    async def upload(self, token: str) -> UploadRow | None:
        """One uploaded file, expired or not."""

    async def uploads_expired(self, now: int, limit: int) -> list[UploadRow]:
        """Uploads whose time is over."""

    async def blob_in_use(self, sha256: str) -> bool:
        """Whether any upload still names these bytes."""

    async def audit(self, app_id: str | None = None, limit: int = 100) -> list[AuditRow]:
        """Lines of the audit, newest first."""

    async def usage(
        self, app_id: str, *, since: int | None = None, until: int | None = None, by: By | None = None
    ) -> UsageReport:
        """What an app's turns took, those of removed sessions too (see `wire.usage.UsageReport`)."""

    async def close(self) -> None:
        """Writes what was handed in, then lets go of the files. Later writes raise StorageError."""
