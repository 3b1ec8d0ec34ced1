"""What can be written: a value for each kind of change. Those written together are one atomic unit.

No SQL here: a store turns each kind into its own statements.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clawdforge.server.store.stored import AppRow, AuditRow, KeyRow, SessionRow, TurnRow, UploadRow
from clawdforge.wire.events import Event


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
