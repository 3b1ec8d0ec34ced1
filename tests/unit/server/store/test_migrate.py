from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path

import pytest

from clawdforge.server.store import migrate
from clawdforge.server.store.base import StoreUnusable


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "clawdforge.db"


def version_of(path: Path) -> int:
    connection = sqlite3.connect(path)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    connection.close()
    return int(version)


def test_a_new_database_has_the_newest_version_and_is_private(path: Path) -> None:
    migrate.prepare(path)
    assert version_of(path) == len(migrate.steps()) >= 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_database_that_others_could_read_is_made_private(path: Path) -> None:
    migrate.prepare(path)
    path.chmod(0o644)
    migrate.prepare(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_steps_are_applied_once_and_in_order(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrate, "steps", lambda: ("CREATE TABLE t (a);",))
    migrate.prepare(path)
    later = ("CREATE TABLE t (a);", "INSERT INTO t VALUES (1);", "INSERT INTO t SELECT a + 1 FROM t;")
    monkeypatch.setattr(migrate, "steps", lambda: later)
    migrate.prepare(path)
    migrate.prepare(path)
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT a FROM t").fetchall() == [(1,), (2,)]
    connection.close()
    assert version_of(path) == 3


def test_a_step_that_fails_leaves_the_version_before_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = ("CREATE TABLE t (a);", "INSERT INTO t VALUES (1); INSERT INTO nowhere VALUES (1);")
    monkeypatch.setattr(migrate, "steps", lambda: broken)
    with pytest.raises(StoreUnusable, match="nowhere"):
        migrate.prepare(path)
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT a FROM t").fetchall() == []
    connection.close()
    assert version_of(path) == 1


def test_a_newer_database_is_refused_and_left_alone(path: Path) -> None:
    migrate.prepare(path)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 999")
    connection.close()
    with pytest.raises(StoreUnusable, match=r"newer clawdforge.*999.*upgrade"):
        migrate.prepare(path)
    assert version_of(path) == 999


def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"Dear diary, " * 1000)
    with pytest.raises(StoreUnusable, match="damaged"):
        migrate.prepare(path)
    assert path.read_bytes() == b"Dear diary, " * 1000


@pytest.mark.parametrize("page", [0, 1])
def test_a_damaged_page_is_noticed(path: Path, page: int) -> None:
    migrate.prepare(path)
    with path.open("r+b") as file:
        file.seek(page * 4096 + (100 if page == 0 else 0))
        file.write(b"\xff" * 2000)
    with pytest.raises(StoreUnusable, match="damaged"):
        migrate.prepare(path)


def test_a_truncated_database_is_noticed(path: Path) -> None:
    migrate.prepare(path)
    os.truncate(path, 3 * 4096)
    with pytest.raises(StoreUnusable, match="damaged"):
        migrate.prepare(path)


def test_a_database_that_another_process_writes_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrate, "LOCK_WAIT_S", 0.01)
    migrate.prepare(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(StoreUnusable, match="locked by another process"):
            migrate.prepare(path)
    finally:
        other.close()
    migrate.prepare(path)


def test_a_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file, no directory")
    with pytest.raises(StoreUnusable, match="cannot be opened"):
        migrate.prepare(tmp_path / "data" / "clawdforge.db")


def test_a_symlink_in_the_place_of_the_database_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "clawdforge.db").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreUnusable, match="cannot be opened"):
        migrate.prepare(tmp_path / "clawdforge.db")
    assert not (tmp_path / "elsewhere").exists()


def test_an_old_sqlite_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    with pytest.raises(StoreUnusable, match="too old"):
        migrate.prepare(path)
