"""The store in one SQLite file: one thread writes, a few threads read, the event loop only asks.

This module opens, wires and closes; the SQL is in `changes` and `queries`, the group commit in `writer`.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Concatenate, Final, Literal, ParamSpec, TypeVar

from clawdforge.server.store import changes, migrate, queries, sums
from clawdforge.server.store.base import StorageError, StoreUnusable
from clawdforge.server.store.checkpoints import Checkpoints
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
from clawdforge.server.store.writer import Unit, Writer
from clawdforge.server.store.writes import AppendEvents, Change, DropCopy, RemoveSession
from clawdforge.wire.events import EncodedEvent, Event
from clawdforge.wire.usage import By, UsageReport

T = TypeVar("T")
P = ParamSpec("P")

FILE_NAME: Final = "clawdforge.db"
READERS: Final = 3
LOCK_WAIT_S: Final = 5.0
WAL_LIMIT_BYTES: Final = 64 * 1024 * 1024
CHECKPOINT_PAGES: Final = 4000
"""SQLite's own checkpoints hold up a commit: they are for where those beside come too late."""


class SqliteStore:
    """`base.Store` in a file. Made by `open`; belongs to the event loop that it was opened on."""

    def __init__(self, path: Path, writing: sqlite3.Connection, linger_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._checkpoints = Checkpoints(lambda: _connect(path, "NORMAL"))
        self._writer = Writer(
            writing,
            tidy=changes.tidy,
            on_stored=self._tell,
            loop=self._loop,
            linger_s=linger_s,
            committed=self._checkpoints.committed,
        )
        self._on_stored: Callable[[Sequence[AppendEvents]], None] = lambda _: None
        self._readers = _Readers(path)

    @classmethod
    async def open(
        cls, path: Path, *, durability: Literal["full", "process"] = "full", linger_s: float = 0.025
    ) -> SqliteStore:
        """Opens the database file, made and migrated as needed.

        Args:
            path: the file; its directory is made (0700) if it is not there.
            durability: `full` survives power loss; `process` survives SIGKILL, and may lose the last commits at
                power loss.
            linger_s: how long units with `flush=False` wait for company at most.

        Raises:
            StoreUnusable: the file is corrupt, locked, from a newer version, or cannot be opened.
        """

        def connect() -> sqlite3.Connection:
            migrate.prepare(path)
            try:
                connection = _connect(path, "FULL" if durability == "full" else "NORMAL")
                changes.drop_copies(connection)
                return connection
            except sqlite3.Error as error:
                raise StoreUnusable(f"The database {path} cannot be used: {error}.") from error

        return cls(path, await asyncio.to_thread(connect), linger_s)

    def write(self, *changed: Change, flush: bool = True) -> asyncio.Future[None]:
        done = self._loop.create_future()
        try:
            encoded = [changes.encode(change) for change in changed]
            appended = [change for change in changed if isinstance(change, AppendEvents)]
            untidy = any(isinstance(change, RemoveSession | DropCopy) for change in changed)
            unit = Unit([op for op, _ in encoded], sum(size for _, size in encoded), done, appended, untidy)
            self._writer.put(unit, flush=flush)
        except StorageError as error:
            done.set_exception(error)
        return done

    async def apps(self) -> list[AppRow]:
        return await self._read(queries.apps)

    async def session(self, session_id: str) -> SessionRow | None:
        return await self._read(queries.session, session_id)

    async def sessions(
        self,
        app_id: str,
        *,
        kind: SessionKind = "session",
        include_closed: bool = True,
        limit: int | None = None,
        before: tuple[int, str] | None = None,
    ) -> list[SessionRow]:
        return await self._read(
            queries.sessions, app_id, kind=kind, include_closed=include_closed, limit=limit, before=before
        )

    async def runs(self, app_id: str, *, limit: int, before: tuple[int, str] | None = None) -> list[RunRow]:
        return await self._read(queries.runs, app_id, limit=limit, before=before)

    async def run(self, run_id: str) -> RunRow | None:
        return await self._read(queries.run, run_id)

    async def open_sessions(self) -> list[SessionRow]:
        return await self._read(queries.open_sessions)

    async def closed_before(self, closed_at: int, limit: int) -> list[SessionRow]:
        return await self._read(queries.closed_before, closed_at, limit)

    async def unfinished_turns(self, session_id: str | None = None) -> list[TurnRow]:
        return await self._read(queries.unfinished_turns, session_id)

    async def turn(self, session_id: str, turn_index: int) -> TurnRow | None:
        return await self._read(queries.turn, session_id, turn_index)

    async def turns(self, session_id: str, *, limit: int, before: int | None = None) -> list[TurnRow]:
        return await self._read(queries.turns, session_id, limit=limit, before=before)

    async def key(self, app_id: str, key: str) -> KeyRow | None:
        return await self._read(queries.key, app_id, key)

    async def events(
        self, session_id: str, *, after: int = 0, turn_index: int | None = None, limit: int | None = None
    ) -> list[Event]:
        return await self._read(queries.events, session_id, after=after, turn_index=turn_index, limit=limit)

    async def encoded_events(
        self, session_id: str, *, after: int = 0, turn_index: int | None = None, limit: int, limit_bytes: int
    ) -> list[EncodedEvent]:
        question = queries.encoded_events
        return await self._read(
            question, session_id, after=after, turn_index=turn_index, limit=limit, limit_bytes=limit_bytes
        )

    def watch(self, on_stored: Callable[[Sequence[AppendEvents]], None]) -> None:
        self._on_stored = on_stored

    def _tell(self, units: Sequence[Unit]) -> None:
        appended = [each for unit in units for each in unit.appended]
        if appended:
            self._on_stored(appended)

    async def permission_answer(self, session_id: str, permission_id: str) -> Event | None:
        return await self._read(queries.permission_answer, session_id, permission_id)

    async def last_seq(self, session_id: str) -> int:
        return await self._read(queries.last_seq, session_id)

    async def upload(self, token: str) -> UploadRow | None:
        return await self._read(queries.upload, token)

    async def uploads_expired(self, now: int, limit: int) -> list[UploadRow]:
        return await self._read(queries.uploads_expired, now, limit)

    async def blob_in_use(self, sha256: str) -> bool:
        return await self._read(queries.blob_in_use, sha256)

    async def audit(self, app_id: str | None = None, limit: int = 100) -> list[AuditRow]:
        return await self._read(queries.audit, app_id, limit)

    async def usage(
        self, app_id: str, *, since: int | None = None, until: int | None = None, by: By | None = None
    ) -> UsageReport:
        return await self._read(sums.usage, app_id, since=since, until=until, by=by)

    async def close(self) -> None:
        self._writer.close()
        await asyncio.to_thread(self._writer.join)
        await asyncio.to_thread(self._checkpoints.close)
        await asyncio.to_thread(self._readers.close)

    async def _read(
        self, question: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        return await self._readers.ask(lambda connection: question(connection, *args, **kwargs))


class _Readers:
    """A few threads, each with a connection of its own that cannot write, opened at its first question."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._threads = ThreadPoolExecutor(READERS, thread_name_prefix="store-reader")
        self._mine = threading.local()
        self._all: list[sqlite3.Connection] = []

    async def ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        try:
            answer = asyncio.get_running_loop().run_in_executor(self._threads, self._answer, question)
        except RuntimeError as error:  # it is closed, or there is no thread to be had
            raise StorageError(f"The store cannot be asked: {error}.") from None
        return await answer

    def _answer(self, question: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return question(self._connection())
        except (sqlite3.Error, OverflowError, UnicodeEncodeError) as error:
            raise StorageError(f"The store could not be read: {error}.") from None

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._mine, "connection", None)
        if connection is None:
            connection = self._mine.connection = _connect(self._path, "NORMAL")
            connection.execute("PRAGMA query_only = 1")
            self._all.append(connection)
        return connection

    def close(self) -> None:
        """Blocks until the questions under way are answered and the connections closed."""
        self._threads.shutdown()
        for connection in self._all:
            connection.close()


def _connect(path: Path, synchronous: str) -> sqlite3.Connection:
    """A connection that may be handed to another thread, with explicit transactions only."""
    connection = sqlite3.connect(path, timeout=LOCK_WAIT_S, isolation_level=None, check_same_thread=False)
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT_BYTES}")
    connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    connection.execute("PRAGMA secure_delete = FAST")
    return connection
