"""A session's log and turns copied for another one: in pieces that nobody sees, then whole, or not at all."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from clawdforge.server.store.base import StorageError
from clawdforge.server.store.sqlite import SqliteStore
from clawdforge.server.store.stored import SessionRow, TurnRow
from clawdforge.server.store.writes import (
    AddFork,
    AddSession,
    AppendEvents,
    Change,
    CopyEvents,
    DropCopy,
    EndTurn,
    RemoveSession,
    StartTurn,
)
from clawdforge.wire.events import Event

DEADLINE_S = 10
SOURCE = SessionRow("sess_a", "app", "app", "session", "fake", "/a", {"agent": "fake"}, {"x": 1}, 100)
EVENTS = [Event(seq, "text", 1, 1000 + seq, {"content": f"{seq}"}) for seq in range(1, 11)]
TURN = TurnRow("sess_a", 1, "running", 1000)
ENDED = replace(TURN, status="done", stop_reason="end_turn", ok=True, duration_ms=5, usage={"total_tokens": 7})
FORK = replace(
    SOURCE,
    session_id="sess_b",
    cwd="/b",
    turn_count=1,
    last_turn_at=1,
    forked_from={"session_id": "sess_a", "turn_index": 1, "agent_session_id": None},
)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = await SqliteStore.open(tmp_path / "store.db")
    await store.write(AddSession(SOURCE), StartTurn(TURN), AppendEvents("sess_a", EVENTS))
    yield store
    await store.close()


def copy(after: int, last: int, session_id: str = "sess_b") -> CopyEvents:
    return CopyEvents("sess_a", session_id, after, last, 100)


def left(path: Path) -> tuple[int, int]:
    """How many rows of events there are, and how many copies are on their way."""
    connection = sqlite3.connect(path)
    try:
        (events,) = connection.execute("SELECT count(*) FROM events").fetchone()
        (copies,) = connection.execute("SELECT count(*) FROM copies").fetchone()
    finally:
        connection.close()
    return events, copies


async def tidied(path: Path, events: int) -> None:
    """Waits until the writer has tidied up."""
    async with asyncio.timeout(DEADLINE_S):
        while left(path) != (events, 0):
            await asyncio.sleep(0.001)


async def test_a_fork_has_the_turns_and_the_events_and_they_are_its_own(store: SqliteStore) -> None:
    await store.write(EndTurn(ENDED))
    await store.write(copy(0, 4))
    assert await store.session("sess_b") is None
    assert await store.events("sess_b") == []
    await store.write(copy(4, 10), AddFork("sess_a", FORK))
    assert await store.session("sess_b") == FORK
    assert await store.events("sess_b") == EVENTS
    assert await store.turn("sess_b", 1) == replace(ENDED, session_id="sess_b")
    await store.write(RemoveSession("sess_a"))
    assert await store.events("sess_b") == EVENTS
    assert await store.last_seq("sess_b") == 10
    more = Event(11, "text", 2, 2000, {"content": "more"})
    await store.write(StartTurn(TurnRow("sess_b", 2, "running", 2000)), AppendEvents("sess_b", [more]))
    assert (await store.events("sess_b"))[-1] == more


async def test_sessions_that_are_opened_meanwhile_have_keys_of_their_own(store: SqliteStore) -> None:
    await store.write(EndTurn(ENDED))
    others = [replace(SOURCE, session_id=f"sess_{number}") for number in range(5)]
    units: list[Change] = [
        copy(0, 5),
        AddSession(others[0]),
        copy(0, 3, "sess_c"),
        AddSession(others[1]),
        copy(5, 10),
    ]
    for change in units:
        await store.write(change)
    await store.write(AddFork("sess_a", FORK))
    await store.write(copy(3, 10, "sess_c"), AddFork("sess_a", replace(FORK, session_id="sess_c")))
    for row in others[2:]:
        await store.write(AddSession(row))
    assert await store.events("sess_b") == await store.events("sess_c") == EVENTS
    assert [await store.last_seq(row.session_id) for row in others] == [0] * 5


async def test_a_session_without_events_can_be_forked(store: SqliteStore) -> None:
    await store.write(AddSession(replace(SOURCE, session_id="sess_new")))
    fork = replace(FORK, turn_count=0, last_turn_at=None)
    await store.write(AddFork("sess_new", fork))
    assert await store.session("sess_b") == fork
    assert await store.events("sess_b") == []


async def test_a_session_whose_turn_has_not_ended_is_not_forked(store: SqliteStore) -> None:
    with pytest.raises(StorageError, match="cannot be forked"):
        await store.write(copy(0, 10), AddFork("sess_a", FORK))
    assert await store.session("sess_b") is None
    await store.write(EndTurn(ENDED))
    for row in (replace(FORK, turn_count=2), replace(FORK, turn_count=0)):
        with pytest.raises(StorageError, match="cannot be forked"):
            await store.write(AddFork("sess_a", row))
    with pytest.raises(StorageError, match="cannot be forked"):
        await store.write(AddFork("sess_never", FORK))


async def test_events_that_are_not_there_are_not_copied(store: SqliteStore, tmp_path: Path) -> None:
    for source_id, after in (("sess_a", 10), ("sess_never", 0)):
        with pytest.raises(StorageError, match="no such events"):
            await store.write(CopyEvents(source_id, "sess_b", after, after + 10, 100))
    assert left(tmp_path / "store.db") == (10, 0)


async def test_a_copy_that_is_dropped_leaves_nothing(store: SqliteStore, tmp_path: Path) -> None:
    await store.write(copy(0, 10))
    assert left(tmp_path / "store.db") == (20, 1)
    await store.write(DropCopy("sess_b"))
    await tidied(tmp_path / "store.db", 10)
    await store.write(DropCopy("sess_b"))
    await store.write(EndTurn(ENDED))
    await store.write(copy(0, 10), AddFork("sess_a", FORK))
    assert await store.events("sess_b") == EVENTS


async def test_a_copy_that_was_left_half_way_is_gone_with_the_next_start(
    store: SqliteStore, tmp_path: Path
) -> None:
    await store.write(copy(0, 6))
    await store.close()
    again = await SqliteStore.open(tmp_path / "store.db")
    try:
        await tidied(tmp_path / "store.db", 10)
        assert await again.session("sess_b") is None
        assert await again.events("sess_a") == EVENTS
    finally:
        await again.close()
