"""A session's log on a real store: places, order, company, pressure and failure."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawdforge.server.events.log import SessionLog
from clawdforge.server.events.rounds import Rounds
from clawdforge.server.store.base import StorageError
from clawdforge.server.store.sqlite import SqliteStore
from clawdforge.server.store.stored import SessionRow
from clawdforge.server.store.writes import AddSession, AppendEvents, Change, CloseSession
from clawdforge.wire.events import Draft, Event

MIB = 1024 * 1024


def session_row(session_id: str = "sess_1") -> SessionRow:
    return SessionRow(session_id, "app_1", "app", "session", "fake", "/w", {}, {}, created_at=1)


def other(content: str = "x") -> Draft:
    """An event that stands alone."""
    return Draft("other", {"content": content})


def text(content: str, message_id: str | None = "m", type_: str = "text") -> Draft:
    return Draft(
        type_, {"content": content} if message_id is None else {"content": content, "message_id": message_id}
    )


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = await SqliteStore.open(tmp_path / "log.db", durability="process")
    await store.write(AddSession(session_row()))
    yield store
    await store.close()


class Ear:
    """Hears what a log tells its session."""

    def __init__(self, *, follows: bool = False) -> None:
        self.follows = follows
        self.placed: list[Event] = []
        self.pressed: list[bool] = []
        self.failures: list[BaseException] = []
        self.settled = 0

    def settle(self) -> None:
        self.settled += 1

    def log(self, store: Any, session_id: str = "sess_1", last_seq: int = 0) -> SessionLog:
        ticks: Iterator[int] = iter(range(1000, 1_000_000))
        return SessionLog(
            store,
            session_id,
            last_seq,
            rounds=Rounds(store, lambda _: self.follows),
            on_placed=self.placed.append,
            on_pressure=self.pressed.append,
            on_failure=self.failures.append,
            on_settled=self.settle,
            clock_ms=lambda: next(ticks),
        )


async def test_events_get_their_places_and_times_in_the_order_in_which_they_come(store: SqliteStore) -> None:
    ear = Ear()
    log = ear.log(store)
    for word, turn in (("a", None), ("b", 1), ("c", 1)):
        log.append(other(word), turn)
    await log.commit()
    stored = await store.events("sess_1")
    assert stored == ear.placed
    assert [(each.seq, each.turn_index, each.ts) for each in stored] == [
        (1, None, 1000),
        (2, 1, 1001),
        (3, 1, 1002),
    ]


async def test_a_log_goes_on_where_the_last_one_ended(store: SqliteStore) -> None:
    first = Ear().log(store)
    first.append(other(), None)
    await first.commit()
    second = Ear().log(store, last_seq=await store.last_seq("sess_1"))
    second.append(other(), None)
    await second.commit()
    assert await store.last_seq("sess_1") == 2


async def test_what_nobody_waits_for_is_stored_soon_all_the_same(store: SqliteStore) -> None:
    log = Ear().log(store)
    log.append(other(), None)
    async with asyncio.timeout(20):
        while await store.last_seq("sess_1") == 0:
            await asyncio.sleep(0)


async def test_changes_are_stored_in_one_unit_with_the_events_before_them(store: SqliteStore) -> None:
    log = Ear().log(store)
    log.append(other("before"), None)
    await log.commit(CloseSession("sess_1", 9, "client"), drafts=[other("with")], turn_index=3)
    row = await store.session("sess_1")
    assert row is not None
    assert row.closed_at == 9
    stored = await store.events("sess_1")
    assert [(each.data["content"], each.turn_index) for each in stored] == [("before", None), ("with", 3)]


async def test_a_unit_that_is_refused_leaves_nothing_of_it(store: SqliteStore) -> None:
    ear = Ear()
    log = ear.log(store)
    with pytest.raises(StorageError):
        await log.commit(AddSession(session_row()), drafts=[other()])
    assert await store.last_seq("sess_1") == 0
    assert len(ear.failures) == 1


@pytest.mark.parametrize("size", [1, 70_000, 3 * MIB], ids=["small", "more than a batch", "large"])
async def test_a_held_log_waits_for_its_session_s_row_however_much_comes(store: SqliteStore, size: int) -> None:
    ear = Ear()
    log = ear.log(store, "sess_new")
    log.hold()
    for _ in range(3):
        log.append(other("x" * size), None)
    await asyncio.sleep(0)
    await log.commit(AddSession(session_row("sess_new")))
    assert [each.seq for each in await store.events("sess_new")] == [1, 2, 3]
    assert ear.failures == []


@pytest.mark.parametrize("size", [1, 70_000, 3 * MIB], ids=["small", "more than a batch", "large"])
async def test_a_row_comes_before_the_events_that_are_committed_with_it(store: SqliteStore, size: int) -> None:
    ear = Ear()
    log = ear.log(store, "sess_new")
    await log.commit(AddSession(session_row("sess_new")), drafts=[other("x" * size), other()])
    assert [each.seq for each in await store.events("sess_new")] == [1, 2]
    assert ear.failures == []


class Slow:
    """A store that stores when it is told to."""

    def __init__(self) -> None:
        self.units: list[tuple[tuple[Change, ...], bool, asyncio.Future[None]]] = []

    def write(self, *changes: Change, flush: bool = True) -> asyncio.Future[None]:
        self.units.append((changes, flush, asyncio.get_running_loop().create_future()))
        return self.units[-1][2]

    def events(self) -> list[int]:
        return [
            event.seq
            for changes, _, _ in self.units
            for change in changes
            if isinstance(change, AppendEvents)
            for event in change.events
        ]

    async def finish(self, error: StorageError | None = None) -> None:
        for _, _, future in self.units:
            if not future.done():
                future.set_result(None) if error is None else future.set_exception(error)
        await asyncio.sleep(0)


async def test_only_what_somebody_waits_for_is_hurried() -> None:
    slow = Slow()
    log = Ear().log(slow)
    log.append(other("x" * MIB), None)
    waiting = log.commit()
    assert [flush for _, flush, _ in slow.units] == [False, True]
    await slow.finish()
    await waiting


async def test_small_events_go_to_the_store_together() -> None:
    slow = Slow()
    log = Ear().log(slow)
    for _ in range(100):
        log.append(other(), None)
    log.commit()
    assert len(slow.units) == 1
    assert slow.events() == list(range(1, 101))
    await slow.finish()


async def test_the_agent_is_paused_while_much_waits_and_resumed_when_little_does() -> None:
    slow, ear = Slow(), Ear()
    log = ear.log(slow)
    for _ in range(9):
        log.append(other("x" * MIB), None)
    assert ear.pressed == [True]
    log.append(other("x" * MIB), None)
    assert ear.pressed == [True]
    while not log.settled:
        await slow.finish()
    assert ear.pressed == [True, False]
    assert slow.events() == list(range(1, 11))


async def test_of_much_that_waits_the_store_has_less_than_a_commit_at_a_time() -> None:
    slow = Slow()
    log = Ear().log(slow)
    for _ in range(10):
        log.append(other("x" * 64 * 1024), None)
    assert slow.events() == [1, 2, 3]
    await slow.finish()
    assert slow.events() == [1, 2, 3, 4, 5, 6]
    log.append(other("the last"), None)
    ends = log.commit(drafts=[other("the end")])
    assert slow.events() == [*range(1, 13)]
    assert [len(changes) for changes, _, _ in slow.units] == [1] * 11
    await slow.finish()
    await ends
    assert log.settled


async def test_the_first_failure_is_told_once_and_kept() -> None:
    slow, ear = Slow(), Ear()
    log = ear.log(slow)
    first = log.commit(drafts=[other()])
    full = StorageError("no room", full=True)
    await slow.finish(full)
    second = log.commit(drafts=[other()])
    await slow.finish(StorageError("does not follow"))
    assert ear.failures == [full]
    assert log.failure is full
    for future in (first, second):
        with pytest.raises(StorageError):
            await future


@pytest.mark.parametrize("error", [None, StorageError("no room")])
async def test_a_log_is_settled_when_nothing_of_it_is_on_its_way(error: StorageError | None) -> None:
    slow, ear = Slow(), Ear()
    log = ear.log(slow)
    assert log.settled
    log.append(other(), None)
    assert not log.settled, "it lingers"
    log.commit()
    log.append(other("x" * MIB), None)
    assert (log.settled, ear.settled, len(slow.units)) == (False, 0, 2)
    slow.units[0][2].set_result(None)
    await asyncio.sleep(0)
    assert (log.settled, ear.settled) == (False, 0)
    await slow.finish(error)
    assert (log.settled, ear.settled) == (True, 1)


async def test_adjacent_text_of_one_message_that_waits_together_is_one_event(store: SqliteStore) -> None:
    ear = Ear()
    log = ear.log(store)
    said: list[tuple[Draft, int | None]] = [
        (text("a"), 1),
        (text("b"), 1),
        (text("c"), 1),
        (text("d", "another"), 1),
        (text("e", "another", "thinking"), 1),
        (text("f", None), 1),
        (text("g", None), 1),
        (text("h", None), 2),
        (other("between"), 2),
        (text("i", None), 2),
    ]
    for draft, turn in said:
        log.append(draft, turn)
    assert [event.seq for event in ear.placed] == list(range(1, 7))
    log.place()
    await log.commit()
    stored = await store.events("sess_1")
    assert stored == ear.placed
    assert [(event.type, event.turn_index, event.data["content"]) for event in stored] == [
        ("text", 1, "abc"),
        ("text", 1, "d"),
        ("thinking", 1, "e"),
        ("text", 1, "fg"),
        ("text", 2, "h"),
        ("other", 2, "between"),
        ("text", 2, "i"),
    ]
    assert stored[0].data == {"content": "abc", "message_id": "m"}
    assert stored[0].ts == 1002  # that of its last part


async def test_a_text_of_megabytes_is_many_events_of_one_message(store: SqliteStore) -> None:
    ear = Ear()
    log = ear.log(store)
    said = "".join(map(str, range(500_000)))
    log.append(text("before, "), 1)
    log.append(text(said), 1)
    log.append(text("and after", "another"), 1)
    await log.commit()
    stored = await store.events("sess_1")
    assert "".join(each.data["content"] for each in stored) == f"before, {said}and after"
    assert {each.data["message_id"] for each in stored[:-1]} == {"m"}
    assert max(len(each.data["content"]) for each in stored) < 2 * 64 * 1024


async def test_text_that_has_gone_to_the_store_is_not_added_to(store: SqliteStore) -> None:
    log = Ear().log(store)
    log.append(text("a"), 1)
    await log.commit()
    log.append(text("b"), 1)
    await log.commit()
    assert [event.data["content"] for event in await store.events("sess_1")] == ["a", "b"]


async def test_a_merged_event_is_bounded_however_much_waits() -> None:
    slow, ear = Slow(), Ear()
    log = ear.log(slow)
    log.hold()
    for _ in range(100):
        log.append(text("x" * 30_000), None)
    await log_closed(log, slow)
    assert max(len(event.data["content"]) for event in ear.placed) < 100_000
    assert sum(len(event.data["content"]) for event in ear.placed) == 3_000_000


async def log_closed(log: SessionLog, slow: Slow) -> None:
    waiting = log.commit()
    await slow.finish()
    await waiting


async def test_what_somebody_waits_for_is_hurried_once_for_all_that_came_together() -> None:
    slow = Slow()
    log = Ear(follows=True).log(slow)
    for _ in range(3):
        log.append(other(), None)
    await asyncio.sleep(0)
    assert [flush for _, flush, _ in slow.units] == [True]
    assert slow.events() == [1, 2, 3]
    await slow.finish()


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("append"), st.sampled_from([1, 1000, 70_000])),
            st.tuples(st.just("commit"), st.integers(0, 3)),
            st.tuples(st.just("wait"), st.just(0)),
        ),
        max_size=30,
    )
)
def test_whatever_comes_reaches_the_store_once_and_in_order(steps: list[tuple[str, int]]) -> None:
    async def play() -> list[int]:
        slow = Slow()
        log = Ear().log(slow)
        for step, number in steps:
            if step == "append":
                log.append(other("x" * number), None)
            elif step == "commit":
                log.commit(drafts=[other()] * number)
            else:
                await asyncio.sleep(0)
        log.commit()
        await slow.finish()
        return slow.events()

    found = asyncio.run(play())
    assert found == list(range(1, len(found) + 1))
    assert len(found) == sum(number if step == "commit" else step == "append" for step, number in steps)
