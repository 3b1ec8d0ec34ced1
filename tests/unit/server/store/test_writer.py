"""The writer with a table of its own: what is one commit, what fails alone, what a full disk does."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from clawdforge.server.store import writer as writer_module
from clawdforge.server.store.base import StorageError
from clawdforge.server.store.changes import Op
from clawdforge.server.store.writer import Unit, Writer

FAR_OFF_S = 3600.0
DEADLINE_S = 20.0


def insert(value: object) -> Op:
    return lambda connection: connection.execute("INSERT INTO t (value) VALUES (?)", (value,))


class Bench:
    """A writer over a table of unique values, and what it did to the database."""

    def __init__(self, directory: Path, tidy: Callable[[sqlite3.Connection], bool] = lambda _: False) -> None:
        self.path = directory / "t.db"
        self.connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=0.01)
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("CREATE TABLE t (value UNIQUE)")
        self.commits = 0
        self.connection.set_trace_callback(self._count)
        self.loop = asyncio.get_running_loop()
        self.stored: list[list[Unit]] = []
        self.writer = Writer(
            self.connection,
            tidy=tidy,
            on_stored=lambda units: self.stored.append([*units]),
            loop=self.loop,
            linger_s=FAR_OFF_S,
        )

    def _count(self, statement: str) -> None:
        self.commits += statement == "COMMIT"

    def put(self, *ops: Op, flush: bool = True, size_bytes: int = 10) -> asyncio.Future[None]:
        done = self.loop.create_future()
        self.writer.put(Unit(ops, size_bytes, done), flush=flush)
        return done

    async def hold(self) -> threading.Event:
        """Keeps the writer inside a unit until the event is set, so that a group can gather."""
        inside, release = threading.Event(), threading.Event()

        def wait(_: sqlite3.Connection) -> None:
            inside.set()
            assert release.wait(DEADLINE_S)

        self.put(wait)
        assert await asyncio.to_thread(inside.wait, DEADLINE_S)
        return release

    def values(self) -> list[object]:
        reader = sqlite3.connect(self.path)
        found = [value for (value,) in reader.execute("SELECT value FROM t ORDER BY rowid")]
        reader.close()
        return found

    async def close(self) -> None:
        self.writer.close()
        await asyncio.wait_for(asyncio.to_thread(self.writer.join), DEADLINE_S)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path)
    yield made
    await made.close()


async def test_what_gathers_during_a_commit_is_one_commit(bench: Bench) -> None:
    release = await bench.hold()
    units = [bench.put(insert(number)) for number in range(200)]
    release.set()
    await asyncio.gather(*units)
    assert bench.commits == 2
    assert bench.values() == list(range(200))


async def test_a_group_is_bounded_in_units_and_in_bytes(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "GROUP_UNITS", 10)
    monkeypatch.setattr(writer_module, "GROUP_BYTES", 100)
    release = await bench.hold()
    units = [bench.put(insert(number), size_bytes=1) for number in range(20)]  # 2 groups by count
    units += [bench.put(insert(number), size_bytes=40) for number in range(20, 24)]  # 2 by size
    units += [bench.put(insert(24), size_bytes=1000)]  # too large for any company
    release.set()
    await asyncio.gather(*units)
    assert bench.commits == 1 + 2 + 2 + 1
    assert bench.values() == list(range(25))


async def test_only_the_bad_units_of_a_group_fail(bench: Bench) -> None:
    await bench.put(insert("taken"))
    release = await bench.hold()
    units = [bench.put(insert(f"before {n}"), insert("taken" if n % 17 == 0 else n)) for n in range(1, 100)]
    release.set()
    outcomes = await asyncio.gather(*units, return_exceptions=True)
    bad = [number for number, outcome in enumerate(outcomes, start=1) if outcome is not None]
    assert bad == [17, 34, 51, 68, 85]
    good = [value for n in range(1, 100) if n % 17 for value in (f"before {n}", n)]
    assert bench.values() == ["taken", *good]


async def test_only_what_is_stored_is_told_once_for_each_commit(bench: Bench) -> None:
    await bench.put(insert("taken"))
    release = await bench.hold()
    units = [bench.put(insert(value)) for value in ("a", "taken", "b")]
    release.set()
    await asyncio.gather(*units, return_exceptions=True)
    assert [[unit.done for unit in group] for group in bench.stored[2:]] == [[units[0], units[2]]]


async def test_an_error_of_any_kind_is_told_and_the_writer_lives_on(bench: Bench) -> None:
    def broken(_: sqlite3.Connection) -> None:
        raise LookupError("odd")

    with pytest.raises(StorageError, match="odd"):
        await bench.put(broken)
    with pytest.raises(StorageError):
        await bench.put(insert(2**70))
    await bench.put(insert(1))
    assert bench.values() == [1]


async def test_a_full_disk_is_told_and_ends_when_there_is_room_again(bench: Bench) -> None:
    (pages,) = bench.connection.execute("PRAGMA page_count").fetchone()
    bench.connection.execute(f"PRAGMA max_page_count = {pages + 4}")
    release = await bench.hold()
    small, big, small_too = bench.put(insert("a")), bench.put(insert("x" * 100_000)), bench.put(insert("b"))
    release.set()
    with pytest.raises(StorageError) as caught:
        await big
    assert caught.value.full
    await asyncio.gather(small, small_too)
    assert bench.values() == ["a", "b"]
    bench.connection.execute("PRAGMA max_page_count = 100000")
    await bench.put(insert("x" * 100_000))
    assert len(bench.values()) == 3


async def test_a_lock_held_by_another_process_is_told_to_whoever_waits(bench: Bench) -> None:
    other = sqlite3.connect(bench.path, isolation_level=None, timeout=DEADLINE_S)
    other.execute("BEGIN IMMEDIATE")
    outcomes = await asyncio.gather(*[bench.put(insert(number)) for number in range(50)], return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [StorageError] * 50
    assert "locked" in str(outcomes[0])
    other.close()
    await bench.put(insert("later"))
    assert bench.values() == ["later"]


async def test_housekeeping_goes_on_without_new_units(tmp_path: Path) -> None:
    pieces: list[int] = []
    finished = threading.Event()

    def tidy(_: sqlite3.Connection) -> bool:
        pieces.append(len(pieces))
        if len(pieces) == 10:
            finished.set()
        return len(pieces) < 10

    bench = Bench(tmp_path, tidy)
    assert await asyncio.to_thread(finished.wait, DEADLINE_S)
    await bench.close()


async def test_units_are_stored_between_the_pieces_of_housekeeping(tmp_path: Path) -> None:
    enough = threading.Event()
    bench = Bench(tmp_path, lambda _: not enough.is_set())
    for number in range(3):
        await asyncio.wait_for(bench.put(insert(number)), DEADLINE_S)
    enough.set()
    await bench.close()
    assert bench.values() == [0, 1, 2]


async def test_housekeeping_that_fails_disturbs_nobody(tmp_path: Path) -> None:
    def tidy(connection: sqlite3.Connection) -> bool:
        connection.execute("INSERT INTO nowhere VALUES (1)")
        return True

    bench = Bench(tmp_path, tidy)
    await bench.put(insert(1))
    await bench.put(insert(2))
    await bench.close()
    assert bench.values() == [1, 2]


async def test_after_close_nothing_is_taken(bench: Bench) -> None:
    waiting = bench.put(insert(1), flush=False)
    await bench.close()
    await waiting
    with pytest.raises(StorageError, match="closed"):
        bench.put(insert(2))
    assert bench.values() == [1]


def test_a_loop_that_closes_first_leaves_no_thread(tmp_path: Path) -> None:
    async def leave_early() -> tuple[Bench, threading.Event]:
        bench = Bench(tmp_path)
        release = await bench.hold()
        bench.put(insert("handed in"))
        return bench, release

    bench, release = asyncio.run(leave_early())
    release.set()
    joined = threading.Thread(target=bench.writer.join)
    joined.start()
    joined.join(DEADLINE_S)
    assert not joined.is_alive()
    assert bench.values() == ["handed in"]
