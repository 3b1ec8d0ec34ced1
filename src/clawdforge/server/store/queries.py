"""Rows read back: one SELECT a question, and the value each row becomes.

Every function takes a connection that may only read, asks one statement and so sees one state of the store.
"""

# ruff: noqa: S608 - only names of our own are put into the SQL; every value is bound

from __future__ import annotations

import json
import sqlite3
from typing import Any, Final

from clawdforge.server.store.rows import columns, from_values
from clawdforge.server.store.stored import (
    AppRow,
    AuditRow,
    KeyRow,
    RunRow,
    SessionKind,
    SessionRow,
    TurnRow,
    UploadRow,
)
from clawdforge.wire.events import EncodedEvent, Event

NO_LIMIT: Final = -1
LAST_KEY: Final = 2**63 - 1

_APP: Final = f"SELECT {', '.join(columns(AppRow))} FROM apps"
_SESSION: Final = f"SELECT {', '.join(columns(SessionRow))} FROM sessions"
_TURN: Final = f"SELECT {', '.join(columns(TurnRow))} FROM turns JOIN sessions USING (session_key)"
_UPLOAD: Final = f"SELECT {', '.join(columns(UploadRow))} FROM uploads"
_IDEMPOTENCY_KEY: Final = f"SELECT {', '.join(columns(KeyRow))} FROM keys"
_AUDIT: Final = f"SELECT {', '.join(columns(AuditRow))} FROM audit"
_RUN: Final = (
    f"SELECT {', '.join((*columns(SessionRow), *columns(TurnRow)))}"
    " FROM sessions JOIN turns USING (session_key) WHERE turn_index = 1"
)
_KEY: Final = "(SELECT session_key FROM sessions WHERE session_id = ?)"
# Where that row was removed since, the rows of its second come again rather than never.
_PAGE_AFTER: Final = f" AND (created_at, session_key) < (?, coalesce({_KEY}, {LAST_KEY}))"

_MARKS: Final = "type IN ('turn_queued', 'turn_start', 'turn_end')"  # as their index has it
_OF_TURN: Final = f"FROM events WHERE session_key = {_KEY} AND turn_index = ? AND {_MARKS}"
_BEFORE_TURN: Final = f"(SELECT coalesce(min(seq), 1) - 1 {_OF_TURN})"
_TURN_END: Final = f"(SELECT coalesce(max(seq), {LAST_KEY}) {_OF_TURN} AND type = 'turn_end')"


def apps(connection: sqlite3.Connection) -> list[AppRow]:
    found = connection.execute(f"{_APP} ORDER BY rowid")
    return [from_values(AppRow, row) for row in found]


def session(connection: sqlite3.Connection, session_id: str) -> SessionRow | None:
    found = connection.execute(f"{_SESSION} WHERE session_id = ?", (session_id,)).fetchone()
    return None if found is None else from_values(SessionRow, found)


def sessions(
    connection: sqlite3.Connection,
    app_id: str,
    *,
    kind: SessionKind,
    include_closed: bool,
    limit: int | None,
    before: tuple[int, str] | None,
) -> list[SessionRow]:
    where = "app_id = ? AND kind = ?"
    values: list[Any] = [app_id, kind]
    if not include_closed:
        where += " AND closed_at IS NULL"
    if before is not None:
        where += _PAGE_AFTER
        values += before
    values.append(NO_LIMIT if limit is None else limit)
    found = connection.execute(
        f"{_SESSION} WHERE {where} ORDER BY created_at DESC, session_key DESC LIMIT ?", values
    )
    return [from_values(SessionRow, row) for row in found]


def runs(
    connection: sqlite3.Connection, app_id: str, *, limit: int, before: tuple[int, str] | None
) -> list[RunRow]:
    where = "app_id = ? AND kind = 'run'"
    values: list[Any] = [app_id]
    if before is not None:
        where += _PAGE_AFTER
        values += before
    found = connection.execute(
        f"{_RUN} AND {where} ORDER BY created_at DESC, session_key DESC LIMIT ?", (*values, limit)
    )
    return [_run(row) for row in found]


def run(connection: sqlite3.Connection, run_id: str) -> RunRow | None:
    found = connection.execute(f"{_RUN} AND session_id = ? AND kind = 'run'", (run_id,)).fetchone()
    return None if found is None else _run(found)


def _run(row: tuple[Any, ...]) -> RunRow:
    width = len(columns(SessionRow))
    return RunRow(from_values(SessionRow, row[:width]), from_values(TurnRow, row[width:]))


def open_sessions(connection: sqlite3.Connection) -> list[SessionRow]:
    found = connection.execute(f"{_SESSION} WHERE closed_at IS NULL ORDER BY session_key")
    return [from_values(SessionRow, row) for row in found]


def closed_before(connection: sqlite3.Connection, closed_at: int, limit: int) -> list[SessionRow]:
    found = connection.execute(
        f"{_SESSION} WHERE closed_at < ? ORDER BY closed_at, session_key LIMIT ?", (closed_at, limit)
    )
    return [from_values(SessionRow, row) for row in found]


def unfinished_turns(connection: sqlite3.Connection, session_id: str | None) -> list[TurnRow]:
    where, values = "status IN ('queued', 'running')", []
    if session_id is not None:
        where, values = f"{where} AND session_key = {_KEY}", [session_id]
    found = connection.execute(f"{_TURN} WHERE {where} ORDER BY session_key, turn_index", values)
    return [from_values(TurnRow, row) for row in found]


def turn(connection: sqlite3.Connection, session_id: str, turn_index: int) -> TurnRow | None:
    values = (session_id, turn_index)
    found = connection.execute(f"{_TURN} WHERE session_id = ? AND turn_index = ?", values).fetchone()
    return None if found is None else from_values(TurnRow, found)


def turns(connection: sqlite3.Connection, session_id: str, *, limit: int, before: int | None) -> list[TurnRow]:
    found = connection.execute(
        f"{_TURN} WHERE session_id = ? AND turn_index < ? ORDER BY turn_index DESC LIMIT ?",
        (session_id, LAST_KEY if before is None else before, limit),
    )
    return [from_values(TurnRow, row) for row in found]


def key(connection: sqlite3.Connection, app_id: str, name: str) -> KeyRow | None:
    found = connection.execute(f"{_IDEMPOTENCY_KEY} WHERE app_id = ? AND key = ?", (app_id, name)).fetchone()
    return None if found is None else from_values(KeyRow, found)


def events(
    connection: sqlite3.Connection, session_id: str, *, after: int, turn_index: int | None, limit: int | None
) -> list[Event]:
    found = _events(connection, session_id, after, turn_index, NO_LIMIT if limit is None else limit)
    return [Event(seq, type_, turn, ts, json.loads(data)) for seq, type_, turn, ts, data in found]


def encoded_events(
    connection: sqlite3.Connection,
    session_id: str,
    *,
    after: int,
    turn_index: int | None,
    limit: int,
    limit_bytes: int,
) -> list[EncodedEvent]:
    page: list[EncodedEvent] = []
    size = 0
    for row in _events(connection, session_id, after, turn_index, limit):
        page.append(EncodedEvent(*row))
        size += len(page[-1].data)
        if size >= limit_bytes:
            break
    return page


def _events(
    connection: sqlite3.Connection, session_id: str, after: int, turn_index: int | None, limit: int
) -> sqlite3.Cursor:
    where, values = f"session_key = {_KEY} AND seq > ?", [session_id, after]
    if turn_index is not None:
        mark: list[Any] = [session_id, turn_index]
        where = f"session_key = {_KEY} AND turn_index = ? AND seq > max(?, {_BEFORE_TURN}) AND seq <= {_TURN_END}"
        values = [*mark, after, *mark, *mark]
    sql = f"SELECT seq, type, turn_index, ts, data FROM events WHERE {where} ORDER BY seq LIMIT ?"
    return connection.execute(sql, (*values, limit))


def permission_answer(connection: sqlite3.Connection, session_id: str, permission_id: str) -> Event | None:
    where = f"session_key = {_KEY} AND type = 'permission_answer' AND json_extract(data, '$.permission_id') = ?"
    sql = f"SELECT seq, type, turn_index, ts, data FROM events WHERE {where} ORDER BY seq LIMIT 1"
    found = connection.execute(sql, (session_id, permission_id))
    return next((Event(seq, type_, turn, ts, json.loads(data)) for seq, type_, turn, ts, data in found), None)


def last_seq(connection: sqlite3.Connection, session_id: str) -> int:
    sql = f"SELECT coalesce(max(seq), 0) FROM events WHERE session_key = {_KEY}"
    (found,) = connection.execute(sql, (session_id,)).fetchone()
    return int(found)


def upload(connection: sqlite3.Connection, token: str) -> UploadRow | None:
    found = connection.execute(f"{_UPLOAD} WHERE token = ?", (token,)).fetchone()
    return None if found is None else from_values(UploadRow, found)


def uploads_expired(connection: sqlite3.Connection, now: int, limit: int) -> list[UploadRow]:
    found = connection.execute(f"{_UPLOAD} WHERE expires_at <= ? ORDER BY expires_at LIMIT ?", (now, limit))
    return [from_values(UploadRow, row) for row in found]


def blob_in_use(connection: sqlite3.Connection, sha256: str) -> bool:
    found = connection.execute("SELECT 1 FROM uploads WHERE sha256 = ? LIMIT 1", (sha256,))
    return found.fetchone() is not None


def audit(connection: sqlite3.Connection, app_id: str | None, limit: int) -> list[AuditRow]:
    where, values = ("", (limit,)) if app_id is None else ("WHERE app_id = ?", (app_id, limit))
    found = connection.execute(f"{_AUDIT} {where} ORDER BY audit_key DESC LIMIT ?", values)
    return [from_values(AuditRow, row) for row in found]
