"""Brings a database file to the schema that this version speaks, or says why it cannot.

The numbered files in `schema/` are applied in order, each in a transaction of its own; `PRAGMA user_version` is
the number of the last one. A file that was released is never changed: a change is a new file. This module must
not know what the tables mean.
"""

from __future__ import annotations

import os
import sqlite3
from functools import cache
from importlib.resources import files
from pathlib import Path

from clawdforge.server.store.base import StoreUnusable

OLDEST_SQLITE = (3, 37, 0)  # the first with STRICT tables
LOCK_WAIT_S = 1.0


@cache
def steps() -> tuple[str, ...]:
    """The SQL of every migration; the one at index n brings a database from version n to n + 1."""
    schema = files("clawdforge.server.store") / "schema"
    found = sorted((file for file in schema.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    for number, file in enumerate(found, start=1):
        if int(file.name[:4]) != number:
            raise RuntimeError(f"migration {file.name} is not number {number}")
    return tuple(file.read_text(encoding="utf-8") for file in found)


def prepare(path: Path) -> None:
    """Makes the database if there is none, and brings it to the newest version.

    After the call the file is private to its owner (0600), as are the files that SQLite lays beside it.

    Raises:
        StoreUnusable: the file is corrupt, locked, from a newer version, or cannot be opened.
    """
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise StoreUnusable(f"SQLite {sqlite3.sqlite_version} is too old: 3.37 or newer is needed.")
    try:
        _make_private(path)
        connection = sqlite3.connect(path, timeout=LOCK_WAIT_S, isolation_level=None)
    except (OSError, sqlite3.Error) as error:
        raise StoreUnusable(f"The database {path} cannot be opened: {error}.") from error
    try:
        _migrate(connection, path)
    except sqlite3.Error as error:
        raise StoreUnusable(_sentence(path, error)) from error
    finally:
        connection.close()


def _make_private(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(fd, 0o600)
    finally:
        os.close(fd)


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("BEGIN IMMEDIATE")  # another writer shows itself here
    connection.execute("ROLLBACK")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    known = len(steps())
    if version > known:
        raise StoreUnusable(
            f"The database {path} was written by a newer clawdforge (its version is {version}, this one knows "
            f"{known}): upgrade clawdforge, or use another data directory."
        )
    for number, sql in enumerate(steps()[version:], start=version + 1):
        try:
            connection.executescript(f"BEGIN IMMEDIATE;\n{sql}\nPRAGMA user_version = {number};\nCOMMIT;")
        except sqlite3.Error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    _look_into_every_table(connection)


def _look_into_every_table(connection: sqlite3.Connection) -> None:
    """Damage to a table's first page shows itself now and not in a request."""
    tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
    for (name,) in tables:
        connection.execute(f'SELECT * FROM "{name}" LIMIT 1').fetchall()  # noqa: S608 - a name of our own schema


def _sentence(path: Path, error: sqlite3.Error) -> str:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return f"The database {path} is locked by another process: stop it, or use another data directory."
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return (
            f"The database {path} is damaged, or is no clawdforge database ({error}): restore it from a backup, "
            "or move it away to start afresh."
        )
    return f"The database {path} cannot be used: {error}."
