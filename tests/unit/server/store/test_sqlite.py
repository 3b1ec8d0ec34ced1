"""What only the SQLite store does: its files, its housekeeping, a file system that refuses to write."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest

from clawdforge.server.store import changes
from clawdforge.server.store.base import StoreUnusable
from clawdforge.server.store.sqlite import SqliteStore
from clawdforge.server.store.stored import SessionRow
from clawdforge.server.store.writer import Unit
from clawdforge.server.store.writes import AddSession, AppendEvents, RemoveSession
from clawdforge.wire.events import Event


def session_row(session_id: str) -> SessionRow:
    return SessionRow(session_id, "a", "app", "session", "claude", "/w", {}, {}, created_at=1)


async def test_every_file_is_private(tmp_path: Path) -> None:
    path = tmp_path / "data" / "clawdforge.db"
    store = await SqliteStore.open(path)
    await store.write(AddSession(session_row("s")))
    assert {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {
        "clawdforge.db": 0o600,
        "clawdforge.db-wal": 0o600,
        "clawdforge.db-shm": 0o600,
    }
    await store.close()


@pytest.mark.parametrize(("durability", "synchronous"), [("full", 2), ("process", 1)])
async def test_the_writing_connection_is_as_durable_as_asked(
    tmp_path: Path, durability: Literal["full", "process"], synchronous: int
) -> None:
    store = await SqliteStore.open(tmp_path / "clawdforge.db", durability=durability)
    seen: list[int] = []
    done = asyncio.get_running_loop().create_future()
    look = Unit([lambda connection: seen.extend(*connection.execute("PRAGMA synchronous"))], 1, done)
    store._writer.put(look, flush=True)
    await done
    await store.close()
    assert seen == [synchronous]


async def test_an_unusable_database_is_told_at_open(tmp_path: Path) -> None:
    (tmp_path / "clawdforge.db").write_bytes(b"no database" * 1000)
    with pytest.raises(StoreUnusable):
        await SqliteStore.open(tmp_path / "clawdforge.db")


async def test_a_removed_session_is_deleted_in_bounded_pieces(tmp_path: Path) -> None:
    path = tmp_path / "clawdforge.db"
    store = await SqliteStore.open(path, durability="process")
    events = [Event(seq, "text", 1, 1, {"content": "x"}) for seq in range(1, changes.TIDY_ROWS * 2 + 2)]
    await store.write(AddSession(session_row("gone")), AddSession(session_row("stays")))
    await store.write(AppendEvents("gone", events), AppendEvents("stays", events))
    await store.close()

    connection = sqlite3.connect(path)
    connection.execute("INSERT INTO removed_sessions SELECT session_key FROM sessions WHERE session_id = 'gone'")
    left = []
    while changes.tidy(connection):
        left.append(connection.execute("SELECT count(*) FROM events").fetchone()[0] - len(events))
    connection.commit()
    connection.close()
    assert left == [changes.TIDY_ROWS + 1, 1, 0]


async def test_what_a_crash_left_of_a_removal_is_done_at_the_next_start(tmp_path: Path) -> None:
    path = tmp_path / "clawdforge.db"
    store = await SqliteStore.open(path, durability="process")
    events = [Event(seq, "text", 1, 1, {}) for seq in range(1, 30)]
    await store.write(AddSession(session_row("gone")), AppendEvents("gone", events))
    await store.write(RemoveSession("gone"))
    await store.close()
    connection = sqlite3.connect(path)
    connection.execute("INSERT INTO events VALUES (1, 1, 'text', 1, 1, '{}')")
    connection.execute("INSERT OR IGNORE INTO removed_sessions VALUES (1)")
    connection.commit()
    store = await SqliteStore.open(path, durability="process")
    # Housekeeping comes before the first group: once this is stored, it has begun, and close lets a piece end.
    await store.write(AddSession(session_row("next")))
    await store.close()
    assert connection.execute("SELECT count(*) FROM events").fetchone() == (0,)
    connection.close()


FILE_TOO_LARGE = """
import asyncio, resource, sys
from pathlib import Path
from clawdforge.server.store.base import StorageError
from clawdforge.server.store.stored import SessionRow
from clawdforge.server.store.writes import AddSession, AppendEvents
from clawdforge.server.store.sqlite import SqliteStore
from clawdforge.wire.events import Event

async def main(path: Path) -> None:
    store = await SqliteStore.open(path)
    await store.write(AddSession(SessionRow("s", "a", "app", "session", "claude", "/w", {}, {}, 1)))
    seq = 0
    async def append() -> None:
        await store.write(AppendEvents("s", [Event(seq + 1, "text", 1, 1, {"content": "x" * 50_000})]))
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        for seq in range(100):
            await append()
    except StorageError as error:
        print("full" if error.full else error)
    assert await store.last_seq("s") == seq
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    await append()
    print(await store.last_seq("s") == seq + 1)
    await store.close()

asyncio.run(main(Path(sys.argv[1])))
"""


def test_a_file_system_that_refuses_to_write_is_told_as_full_and_survived(tmp_path: Path) -> None:
    child = subprocess.run(
        [sys.executable, "-c", FILE_TOO_LARGE, str(tmp_path / "clawdforge.db")],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (child.stdout, child.stderr) == ("full\nTrue\n", "")
