"""Readers of a log that grows: nothing twice, nothing missing, and no more kept for them than is allowed."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clawdforge.server.events import fanout as fanout_module
from clawdforge.server.events.fanout import Batch, Fanout, Reader
from clawdforge.server.store.sqlite import SqliteStore
from clawdforge.server.store.stored import SessionRow
from clawdforge.server.store.writes import AddSession, AppendEvents
from clawdforge.wire.events import Event
from clawdforge.wire.sse import Decoder
from harness.databases import lay_new

DEADLINE_S = 20


def session_row(session_id: str = "s") -> SessionRow:
    return SessionRow(session_id, "a", "app", "session", "fake", "/w", {}, {}, created_at=1)


def events(first: int, count: int, *, size: int = 1) -> list[Event]:
    return [Event(seq, "text", 1, 1, {"content": "x" * size}) for seq in range(first, first + count)]


def close(seq: int) -> list[Event]:
    return [Event(seq, "session_closed", None, 1, {"reason": "client"})]


def seqs(data: bytes) -> list[int]:
    return [json.loads(frame.data)["seq"] for frame in Decoder().feed(data)]


async def read_to_the_end(reader: Reader) -> list[int]:
    found = []
    async with asyncio.timeout(DEADLINE_S):
        while not reader.ended:
            found += seqs(await reader.next())
    return found


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = await SqliteStore.open(tmp_path / "log.db", durability="process")
    await opened.write(AddSession(session_row()), AddSession(session_row("other")))
    yield opened
    await opened.close()


async def test_a_reader_gets_what_is_stored_and_then_what_comes(store: SqliteStore) -> None:
    fanout = Fanout(store)
    await store.write(AppendEvents("s", events(1, 3)))
    with fanout.follow("s") as follower:
        reader = fanout.reader(follower, "s", 1, closed=False)
        await store.write(AppendEvents("s", events(4, 2)), AppendEvents("other", events(1, 9)))
        assert seqs(await reader.next()) == [2, 3, 4, 5]
        await store.write(AppendEvents("s", events(6, 2)))
        await store.write(AppendEvents("s", close(8)))
        assert await read_to_the_end(reader) == [6, 7, 8]


async def test_nobody_is_followed_once_its_readers_have_gone(store: SqliteStore) -> None:
    fanout = Fanout(store)
    with fanout.follow("s"), fanout.follow("s"):
        assert fanout.followed("s")
        assert not fanout.followed("other")
    assert not fanout.followed("s")
    assert fanout._followers == {}


async def test_so_much_is_kept_for_a_reader_and_no_more(store: SqliteStore) -> None:
    fanout = Fanout(store)
    with fanout.follow("s") as follower, fanout.follow("s") as other:
        reader = fanout.reader(follower, "s", 0, closed=False)
        for first in range(1, 101, 10):
            await store.write(AppendEvents("s", events(first, 10, size=10_000)))
            other.take()
            assert sum(len(batch.frames()) for batch in follower._batches) <= fanout_module.KEPT_BYTES
        assert follower.lost
        assert not other.lost
        await store.write(AppendEvents("s", close(101)))
        assert await read_to_the_end(reader) == list(range(1, 102))


async def test_a_bell_wakes_a_reader_that_gets_nothing(store: SqliteStore) -> None:
    fanout = Fanout(store)
    with fanout.follow("s") as follower:
        reader = fanout.reader(follower, "s", 0, closed=False)
        assert await reader.next() == b""  # nothing is stored
        waiting = asyncio.ensure_future(reader.next())
        await asyncio.sleep(0)
        follower.ring()
        assert await asyncio.wait_for(waiting, DEADLINE_S) == b""
        assert not reader.ended


async def test_the_log_of_a_closed_session_ends_with_what_is_stored(store: SqliteStore) -> None:
    fanout = Fanout(store)
    await store.write(AppendEvents("s", events(1, 3)))
    for after in (0, 3, 1000):
        with fanout.follow("s") as follower:
            reader = fanout.reader(follower, "s", after, closed=True)
            assert await read_to_the_end(reader) == list(range(after + 1, 4))


async def test_a_reader_of_what_will_never_come_is_told_of_the_close(store: SqliteStore) -> None:
    fanout = Fanout(store)
    with fanout.follow("s") as follower:
        reader = fanout.reader(follower, "s", 1000, closed=False)
        assert await reader.next() == b""
        await store.write(AppendEvents("s", close(1)))
        assert await read_to_the_end(reader) == []


def test_frames_are_made_once_for_all_readers() -> None:
    batch = Batch(events(5, 3))
    assert batch.frames() is batch.frames(4)
    assert seqs(batch.frames()) == [5, 6, 7]
    assert seqs(batch.frames(5)) == [6, 7]


steps = st.lists(
    st.one_of(
        st.tuples(st.just("store"), st.integers(1, 5)),
        st.tuples(st.just("large"), st.integers(1, 3)),
        st.tuples(st.just("read"), st.integers(0, 1)),
        st.tuples(st.just("let go"), st.integers(0, 3)),
    ),
    max_size=25,
)


@pytest.mark.guarantee
@settings(max_examples=60, deadline=None)
@given(steps=steps, after=st.integers(0, 8))
def test_whatever_happens_every_reader_sees_each_event_once_in_order(
    steps: list[tuple[str, int]], after: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_play(Path(folder), steps, after))


async def _play(folder: Path, steps: list[tuple[str, int]], after: int) -> None:
    store = await SqliteStore.open(lay_new(folder / "log.db"), durability="process")
    await store.write(AddSession(session_row()))
    fanout, last = Fanout(store), 0
    with fanout.follow("s") as one, fanout.follow("s") as two:
        readers = [fanout.reader(each, "s", after, closed=False) for each in (one, two)]
        seen: list[list[int]] = [[], []]
        reading: list[asyncio.Future[bytes] | None] = [None, None]

        def collect() -> None:
            for place, done in enumerate(reading):
                if done is not None and done.done():
                    seen[place] += seqs(done.result())
                    reading[place] = None

        for step, number in steps:
            if step in ("store", "large"):
                size = 1 if step == "store" else fanout_module.KEPT_BYTES // 2
                store.write(AppendEvents("s", events(last + 1, number, size=size)))
                last += number
            elif step == "read" and reading[number] is None:
                reading[number] = asyncio.ensure_future(readers[number].next())
            else:
                for _ in range(number):
                    await asyncio.sleep(0.0005)
            collect()
        await store.write(AppendEvents("s", close(last + 1)))
        for place, reader in enumerate(readers):
            if (pending := reading[place]) is not None:
                seen[place] += seqs(await asyncio.wait_for(pending, DEADLINE_S))
            if not reader.ended and after <= last:
                seen[place] += await read_to_the_end(reader)
        if after <= last:
            assert seen == [list(range(after + 1, last + 2))] * 2
    await store.close()
