"""Changes as SQL: each kind is encoded on the event loop and applied on the writer's thread.

Encoding refuses what no store can hold, before it gets in. This module must not open, commit or roll back.
"""

# ruff: noqa: S608 - only names of our own are put into the SQL; every value is bound

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any, Final

from pydantic_core import to_json

from clawdforge.server.store import stored, writes
from clawdforge.server.store.base import StorageError
from clawdforge.server.store.rows import bound, columns, json_text, to_text, values_of
from clawdforge.wire import codec
from clawdforge.wire.events import EncodedEvent, Event

Op = Callable[[sqlite3.Connection], object]
"""Applies one change inside the open transaction; raises StorageError or sqlite3.Error."""

ROW_OVERHEAD_BYTES: Final = 40
TIDY_ROWS: Final = 2000
"""Rows of a removed session that are deleted at a time: a few milliseconds."""

_LONG_CHARS: Final = 64 * 1024

_KEY: Final = "(SELECT session_key FROM sessions WHERE session_id = ?)"


def encode(change: writes.Change) -> tuple[Op, int]:
    """What a change does to the database, and about how many bytes it adds.

    Raises:
        StorageError: a text in it cannot be stored, an object is no JSON, or events do not follow on each other.
    """
    return _ENCODERS[type(change)](change)


def tidy(connection: sqlite3.Connection) -> bool:
    """Deletes one bounded piece of what removed sessions left; False when nothing is left."""
    found = connection.execute("SELECT session_key FROM removed_sessions LIMIT 1").fetchone()
    if found is None:
        return False
    deleted = connection.execute(
        "DELETE FROM events WHERE rowid IN (SELECT rowid FROM events WHERE session_key = ? LIMIT ?)",
        (found[0], TIDY_ROWS),
    ).rowcount
    if deleted < TIDY_ROWS:
        connection.execute("DELETE FROM removed_sessions WHERE session_key = ?", found)
    return True


# --- statements ---------------------------------------------------------------------------------------------


def _one(sql: str, *values: Any, unless: str | None = None) -> tuple[Op, int]:
    """One statement; `unless` is the sentence of the StorageError when it changes no row."""
    ready, characters = bound(values)
    return partial(_run, sql, ready, unless), ROW_OVERHEAD_BYTES + characters


def _add(table: str, row: Any) -> tuple[Op, int]:
    """A new row of a table that has a column for each field."""
    return _one(_insert(table, columns(type(row))), *values_of(row))


@cache
def _insert(table: str, names: tuple[str, ...]) -> str:
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"


def _all(*parts: tuple[Op, int]) -> tuple[Op, int]:
    ops = tuple(op for op, _ in parts)

    def apply(connection: sqlite3.Connection) -> None:
        for op in ops:
            op(connection)

    return apply, sum(size for _, size in parts)


def _run(sql: str, values: Sequence[Any], unless: str | None, connection: sqlite3.Connection) -> None:
    if connection.execute(sql, values).rowcount == 0 and unless is not None:
        raise StorageError(unless)


# --- sessions -----------------------------------------------------------------------------------------------


def _close_session(change: writes.CloseSession) -> tuple[Op, int]:
    sql = "UPDATE sessions SET closed_at = ?, close_reason = ? WHERE session_id = ? AND closed_at IS NULL"
    return _one(sql, change.closed_at, change.reason, change.session_id)


def _remove_session(change: writes.RemoveSession) -> tuple[Op, int]:
    """The session is gone at once; its events, which may be many, are left to `tidy`."""
    noted = "INSERT INTO removed_sessions (session_key) SELECT session_key FROM sessions WHERE session_id = ?"
    return _all(
        _one(noted, change.session_id),
        _one(f"DELETE FROM turns WHERE session_key = {_KEY}", change.session_id),
        _one("DELETE FROM sessions WHERE session_id = ?", change.session_id),
    )


# --- forks --------------------------------------------------------------------------------------------------

_COPY: Final = "(SELECT session_key FROM copies WHERE session_id = ?)"
# Keys are given by AUTOINCREMENT, which goes on after the greatest that it knows of.
_ADD_COPY: Final = (
    "INSERT INTO copies (session_key, session_id) SELECT seq + 1, ? FROM sqlite_sequence"
    " WHERE name = 'sessions' AND NOT EXISTS (SELECT 1 FROM copies WHERE session_id = ?)"
)
_TAKE_KEY: Final = f"UPDATE sqlite_sequence SET seq = max(seq, {_COPY}) WHERE name = 'sessions'"
_COPY_EVENTS: Final = (
    "INSERT INTO events (session_key, seq, type, turn_index, ts, data)"
    f" SELECT {_COPY}, seq, type, turn_index, ts, data FROM events"
    f" WHERE session_key = {_KEY} AND seq > ? AND seq <= ?"
)
_SESSION_COLUMNS: Final = columns(stored.SessionRow)
_ADD_FORK: Final = (
    f"INSERT INTO sessions (session_key, {', '.join(_SESSION_COLUMNS)})"
    f" SELECT {_COPY}, {', '.join('?' * len(_SESSION_COLUMNS))} FROM sessions AS source WHERE session_id = ?"
    " AND turn_count = ? AND NOT EXISTS (SELECT 1 FROM turns WHERE turns.session_key = source.session_key"
    " AND status IN ('queued', 'running'))"
)


def _copy_events(change: writes.CopyEvents) -> tuple[Op, int]:
    copied, _ = _all(
        _one(_ADD_COPY, change.session_id, change.session_id),
        _one(_TAKE_KEY, change.session_id),
        _one(
            _COPY_EVENTS, change.session_id, change.source_id, change.after, change.last,
            unless="There are no such events to be copied.",
        ),
    )  # fmt: skip
    return copied, change.size_bytes


def _add_fork(change: writes.AddFork) -> tuple[Op, int]:
    row = change.row
    names = ", ".join(_TURN_COLUMNS)
    turns = (
        f"INSERT INTO turns (session_key, {names}) SELECT {_KEY}, {names} FROM turns WHERE session_key = {_KEY}"
    )
    return _all(
        _one(
            _ADD_FORK, row.session_id, *values_of(row), change.source_id, row.turn_count,
            unless="The session cannot be forked: it is gone, or its turns are others by now.",
        ),
        _one(turns, row.session_id, change.source_id),
        _one("DELETE FROM copies WHERE session_id = ?", row.session_id),
    )  # fmt: skip


def _drop_copy(change: writes.DropCopy) -> tuple[Op, int]:
    return _all(
        _one(f"INSERT INTO removed_sessions (session_key) {_COPY[1:-1]}", change.session_id),
        _one("DELETE FROM copies WHERE session_id = ?", change.session_id),
    )


def drop_copies(connection: sqlite3.Connection) -> None:
    """Leaves to `tidy` what was copied for sessions that never came to be; none may be on its way."""
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("INSERT INTO removed_sessions (session_key) SELECT session_key FROM copies")
    connection.execute("DELETE FROM copies")
    connection.execute("COMMIT")


# --- turns --------------------------------------------------------------------------------------------------

_COUNT_TURN: Final = (
    "UPDATE sessions SET turn_count = ?, last_turn_at = ?"
    " WHERE session_id = ? AND closed_at IS NULL AND turn_count = ?"
)
_TURN_COLUMNS: Final = columns(stored.TurnRow)[
    1:
]  # the first is the session's id, for which the table has its key
_ADD_TURN: Final = (
    f"INSERT INTO turns (session_key, {', '.join(_TURN_COLUMNS)})"
    f" SELECT session_key, {', '.join('?' * len(_TURN_COLUMNS))} FROM sessions WHERE session_id = ?"
)


def _start_turn(change: writes.StartTurn) -> tuple[Op, int]:
    row = change.row
    return _all(
        _one(
            _COUNT_TURN, row.turn_index, row.started_at_ms // 1000, row.session_id, row.turn_index - 1,
            unless=f"Turn {row.turn_index} cannot start: the session is closed, gone, or had another last turn.",
        ),
        _one(_ADD_TURN, *values_of(row)[1:], row.session_id),
    )  # fmt: skip


def _begin_turn(change: writes.BeginTurn) -> tuple[Op, int]:
    return _all(
        _one(
            "UPDATE turns SET status = 'running', started_at_ms = ?"
            f" WHERE session_key = {_KEY} AND turn_index = ? AND status = 'queued'",
            change.started_at_ms, change.session_id, change.turn_index,
            unless=f"Turn {change.turn_index} cannot begin: it is not queued.",
        ),
        _one(
            "UPDATE sessions SET last_turn_at = ? WHERE session_id = ?",
            change.started_at_ms // 1000, change.session_id,
        ),
    )  # fmt: skip


_END_TURN: Final = (
    "UPDATE turns SET status = ?, stop_reason = ?, ok = ?, duration_ms = ?, error = ?, detail = ?, usage = ?,"
    " model = ?, extra = ?"
    f" WHERE session_key = {_KEY} AND turn_index = ? AND status IN ('queued', 'running')"
)


def _end_turn(change: writes.EndTurn) -> tuple[Op, int]:
    row = change.row
    return _one(
        _END_TURN, row.status, row.stop_reason, row.ok, row.duration_ms, row.error, row.detail, row.usage,
        row.model, row.extra, row.session_id, row.turn_index,
        unless=f"Turn {row.turn_index} cannot end: it has ended.",
    )  # fmt: skip


# --- events -------------------------------------------------------------------------------------------------

_LAST_SEQ: Final = (
    "SELECT session_key, (SELECT max(seq) FROM events WHERE events.session_key = sessions.session_key)"
    " FROM sessions WHERE session_id = ?"
)
_ADD_EVENT: Final = "INSERT INTO events (session_key, seq, type, turn_index, ts, data) VALUES (?, ?, ?, ?, ?, ?)"


def _append_events(change: writes.AppendEvents) -> tuple[Op, int]:
    rows = [_checked(event) for event in change.events]
    first = rows[0].seq if rows else 1
    if any(row.seq != seq for seq, row in enumerate(rows, start=first)):
        raise StorageError("The events' sequence numbers do not follow on each other.")
    size = ROW_OVERHEAD_BYTES + sum(ROW_OVERHEAD_BYTES + len(row.data) for row in rows)
    return partial(_insert_events, change.session_id, first, rows), size


def _checked(event: Event) -> EncodedEvent:
    to_text(event.type)
    json_text(lambda: event.encoded(_text).data)
    return event.encoded()


def _text(data: Mapping[str, Any]) -> str:
    """As `codec.text`, which takes four times as long for a prompt of megabytes: nobody else has the loop then."""
    if not any(type(value) is str and len(value) > _LONG_CHARS for value in data.values()):
        return codec.text(data)
    parts: list[str] = []
    for name, value in data.items():
        long = type(value) is str and len(value) > _LONG_CHARS
        parts += [",", codec.text(name), ":", to_json(value).decode() if long else codec.text(value)]
    return "".join(["{", *parts[1:], "}"])


def _insert_events(
    session_id: str, first: int, rows: Sequence[EncodedEvent], connection: sqlite3.Connection
) -> None:
    found = connection.execute(_LAST_SEQ, (session_id,)).fetchone()
    if found is None:
        raise StorageError("The session of these events is gone.")
    key, last = found
    if rows and first != (last or 0) + 1:
        raise StorageError(f"Event {first} does not follow on event {last or 0}, the session's last.")
    connection.executemany(_ADD_EVENT, [(key, *row) for row in rows])


_ENCODERS: Final[dict[type[Any], Callable[[Any], tuple[Op, int]]]] = {
    writes.AddApp: lambda change: _add("apps", change.row),
    writes.TouchApp: lambda change: _one(
        "UPDATE apps SET last_used_at = ? WHERE app_id = ?", change.last_used_at, change.app_id
    ),
    writes.RevokeApp: lambda change: _one(
        "UPDATE apps SET revoked_at = ? WHERE app_id = ? AND revoked_at IS NULL", change.revoked_at, change.app_id
    ),
    writes.AddSession: lambda change: _add("sessions", change.row),
    writes.NoteAgentSession: lambda change: _one(
        "UPDATE sessions SET agent_session_id = ? WHERE session_id = ?", change.agent_session_id, change.session_id
    ),
    writes.CopyEvents: _copy_events,
    writes.AddFork: _add_fork,
    writes.DropCopy: _drop_copy,
    writes.CloseSession: _close_session,
    writes.RemoveSession: _remove_session,
    writes.StartTurn: _start_turn,
    writes.BeginTurn: _begin_turn,
    writes.EndTurn: _end_turn,
    writes.AppendEvents: _append_events,
    writes.AddUpload: lambda change: _add("uploads", change.row),
    writes.RemoveUpload: lambda change: _one("DELETE FROM uploads WHERE token = ?", change.token),
    writes.AddKey: lambda change: _add("keys", change.row),
    writes.RemoveKeys: lambda change: _one("DELETE FROM keys WHERE created_at < ?", change.created_before),
    writes.AddAudit: lambda change: _add("audit", change.row),
}
