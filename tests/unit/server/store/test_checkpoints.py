"""Checkpoints beside the writer: the log file begins anew, and nothing is lost or held up where it cannot."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import wait
from contextlib import closing
from pathlib import Path

import pytest

from clawdforge.server.store import checkpoints
from clawdforge.server.store.base import StorageError
from clawdforge.server.store.checkpoints import Checkpoints
from clawdforge.server.store.sqlite import CHECKPOINT_PAGES, SqliteStore
from clawdforge.server.store.stored import AppRow
from clawdforge.server.store.writes import AddApp

DEADLINE_S = 20.0
SALT = slice(16, 24)


def salt(database: Path) -> bytes:
    """Of the log file's beginning: another one each time that it begins anew."""
    return database.with_name(database.name + "-wal").read_bytes()[SALT]


def until(condition: Callable[[], bool], step: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        step()


class Bench:
    """A connection that writes rows, with no checkpoints of SQLite's own."""

    def __init__(self, path: Path, connect: Callable[[], sqlite3.Connection] | None = None) -> None:
        self.path = path
        self.rows = 0
        self.writing = self.connect()
        self.writing.execute("PRAGMA journal_mode = WAL")
        self.writing.execute("PRAGMA wal_autocheckpoint = 0")
        self.writing.execute("CREATE TABLE t (value)")
        self.checkpoints = Checkpoints(connect or self.connect)

    def connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)

    def write(self) -> None:
        self.writing.execute("INSERT INTO t VALUES ('a row')")
        self.rows += 1
        self.checkpoints.committed(self.writing, 100)

    def close(self) -> int:
        """Returns how many rows there are."""
        self.checkpoints.close()
        self.writing.close()
        with closing(self.connect()) as connection:
            (found,) = connection.execute("SELECT count(*) FROM t").fetchone()
        return int(found)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "PAGES", 10)


def test_the_log_file_begins_anew(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "t.db")
    for _ in range(3):
        before = salt(bench.path)
        until(lambda: salt(bench.path) != before, bench.write)  # noqa: B023 - called here
    assert bench.close() == bench.rows


@pytest.mark.parametrize(("passes", "does_the_last"), [(checkpoints._PASSES, False), (1, True)])
def test_the_writer_does_the_last_of_it_only_where_the_other_thread_does_not_get_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, passes: int, does_the_last: bool
) -> None:
    monkeypatch.setattr(checkpoints, "_PASSES", passes)
    bench = Bench(tmp_path / "t.db")
    heard: list[str] = []
    bench.writing.set_trace_callback(heard.append)
    before = salt(bench.path)

    def write() -> None:
        bench.write()
        if (beside := bench.checkpoints._beside) is not None:
            wait({beside}, DEADLINE_S)  # nothing comes meanwhile

    until(lambda: salt(bench.path) != before, write)
    assert any("checkpoint" in statement for statement in heard) is does_the_last
    assert bench.close() == bench.rows


def test_a_reader_that_holds_on_to_the_log_is_not_disturbed(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "t.db")
    bench.write()
    with closing(bench.connect()) as reader:
        reader.execute("BEGIN")
        seen = reader.execute("SELECT count(*) FROM t").fetchone()
        before = salt(bench.path)
        for _ in range(100):
            bench.write()
        assert reader.execute("SELECT count(*) FROM t").fetchone() == seen
        assert salt(bench.path) == before
        reader.execute("COMMIT")
    until(lambda: salt(bench.path) != before, bench.write)
    assert bench.close() == bench.rows


def test_one_that_fails_is_tried_again(tmp_path: Path) -> None:
    tried = 0

    def no_room() -> sqlite3.Connection:
        nonlocal tried
        tried += 1
        raise sqlite3.OperationalError("database or disk is full")

    bench = Bench(tmp_path / "t.db", no_room)
    until(lambda: tried > 2, bench.write)
    assert bench.close() == bench.rows


async def test_a_store_makes_them(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "clawdforge.db")
    written = 0

    async def write() -> bytes:
        nonlocal written
        written += 1
        name = str(written)
        await store.write(AddApp(AppRow(name, name, name.encode(), (), created_at=1)))
        return salt(tmp_path / "clawdforge.db")

    first = await write()
    while await write() == first:
        assert written < CHECKPOINT_PAGES / 10, "SQLite's own would come soon"
    assert len(await store.apps()) == written
    await store.close()


async def test_a_store_goes_on_where_no_thread_can_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = await SqliteStore.open(tmp_path / "clawdforge.db")

    def refused(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as scarcity:
        scarcity.setattr(threading.Thread, "start", refused)
        async with asyncio.timeout(DEADLINE_S):
            for name in ("large", "and then", "some more"):
                title = name.ljust(2 * checkpoints.PAGES * 4096)
                await store.write(AddApp(AppRow(name, title, name.encode(), (), created_at=1)))
        with pytest.raises(StorageError, match="can't start new thread"):
            await store.apps()
    assert len(await store.apps()) == 3
    await store.close()
