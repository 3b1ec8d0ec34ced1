from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from clawdforge.server.apps import keys
from clawdforge.server.apps.keys import Keys, Note, Once
from clawdforge.server.store.base import StorageError, Store
from clawdforge.server.store.sqlite import SqliteStore
from clawdforge.wire.problems import Problem
from clawdforge.wire.sandbox import Sandbox

ASKED = Once("key", b"a" * 32)
OTHER = Once("key", b"b" * 32)


@dataclass(frozen=True, slots=True)
class Made:
    """An answer that holds another value of the wire."""

    number: int
    wall: Sandbox


class Work:
    """Something that must be done once."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.done = 0
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self, note: Note | None) -> Made:
        await self.go.wait()
        self.done += 1
        made = Made(self.done, Sandbox("none", "open"))
        if note is not None:
            await self.store.write(note(made))
        return made


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await SqliteStore.open(tmp_path / "clawdforge.db", durability="process", linger_s=0.001)
    yield opened
    await opened.close()


@pytest.fixture
def work(store: Store) -> Work:
    return Work(store)


@pytest.fixture
def kept(store: Store) -> Keys:
    return Keys(store, clock=lambda: 1000.0)


async def test_what_was_done_for_a_key_is_not_done_again(kept: Keys, work: Work) -> None:
    first = await kept.do("app", ASKED, Made, work)
    again = await kept.do("app", ASKED, Made, work)
    assert (first, again) == ((Made(1, Sandbox("none", "open")), False), (first[0], True))
    assert work.done == 1


async def test_without_a_key_it_is_done_each_time(kept: Keys, work: Work, store: Store) -> None:
    assert [(await kept.do("app", None, Made, work))[0].number for _ in range(2)] == [1, 2]


async def test_it_is_kept_by_the_next_life_too(kept: Keys, work: Work, store: Store) -> None:
    first, _ = await kept.do("app", ASKED, Made, work)
    assert await Keys(store).do("app", ASKED, Made, work) == (first, True)


async def test_the_same_key_for_something_else_is_refused(kept: Keys, work: Work) -> None:
    await kept.do("app", ASKED, Made, work)
    with pytest.raises(Problem, match="another request") as refused:
        await kept.do("app", OTHER, Made, work)
    assert refused.value.code == "idempotency_mismatch"
    assert work.done == 1


async def test_each_app_has_its_own_keys(kept: Keys, work: Work) -> None:
    await kept.do("app", ASKED, Made, work)
    assert (await kept.do("another", OTHER, Made, work))[0].number == 2


async def test_of_many_at_once_one_does_it(kept: Keys, work: Work) -> None:
    work.go.clear()
    asked = [asyncio.ensure_future(kept.do("app", ASKED, Made, work)) for _ in range(5)]
    other = asyncio.ensure_future(kept.do("app", OTHER, Made, work))
    await asyncio.sleep(0)
    work.go.set()
    told = await asyncio.gather(*asked)
    assert sorted(was for _, was in told) == [False, True, True, True, True]
    assert {made.number for made, _ in told} == {1}
    with pytest.raises(Problem, match="another request"):
        await other


async def test_one_that_fails_keeps_nothing_and_the_next_one_does_it(kept: Keys, work: Work) -> None:
    async def fail(note: Note | None) -> Made:
        raise Problem("agent_failed", "no")

    with pytest.raises(Problem, match="no"):
        await kept.do("app", ASKED, Made, fail)
    assert (await kept.do("app", OTHER, Made, work))[1] is False


async def test_one_that_is_given_up_lets_the_next_one_do_it(kept: Keys, work: Work) -> None:
    work.go.clear()
    first, second, third = (asyncio.ensure_future(kept.do("app", ASKED, Made, work)) for _ in range(3))
    await asyncio.sleep(0)
    for each in (first, second):
        each.cancel()
    await asyncio.wait({first, second})
    work.go.set()
    assert await third == (Made(1, Sandbox("none", "open")), False)


async def test_a_key_in_use_is_held_only_as_long_as_somebody_wants_it(kept: Keys, work: Work) -> None:
    for once in (ASKED, ASKED):
        await kept.do("app", once, Made, work)
    assert kept._held == {}


async def test_one_key_does_not_wait_for_another(kept: Keys, work: Work, store: Store) -> None:
    work.go.clear()
    waiting = asyncio.ensure_future(kept.do("app", ASKED, Made, work))
    free = Work(store)
    assert (await kept.do("app", Once("another", b"c" * 32), Made, free))[1] is False
    assert not waiting.done()
    work.go.set()
    await waiting


async def test_a_key_is_kept_for_a_day(store: Store, work: Work) -> None:
    now = 1000.0
    kept = Keys(store, clock=lambda: now)
    await kept.do("app", ASKED, Made, work)
    await kept.sweep(1000 + keys.KEPT_S)
    assert (await kept.do("app", ASKED, Made, work))[1] is True
    await kept.sweep(1001 + keys.KEPT_S)
    assert (await kept.do("app", OTHER, Made, work))[1] is False
    assert keys.KEPT_S == 24 * 60 * 60


async def test_a_key_whose_row_cannot_be_stored_is_told(kept: Keys, work: Work, store: Store) -> None:
    """As where the key is used by somebody who does not hold it."""

    async def overtaken(note: Note | None) -> Made:
        await store.write(kept.note("app", OTHER, answer=Made(9, Sandbox("none", "open"))))
        return await work(note)

    with pytest.raises(StorageError):
        await kept.do("app", ASKED, Made, overtaken)
    assert (await kept.do("app", OTHER, Made, work))[0].number == 9


async def test_so_many_keys_of_an_app_are_new_in_an_hour_and_no_more(
    store: Store, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "NEW_LIMIT", 2)
    now = 1_000_000.0
    kept = Keys(store, lambda: now)
    for key in ("one", "two", "one"):
        await kept.do("app", Once(key, b"a" * 32), Made, work)
    with pytest.raises(Problem) as refused:
        await kept.do("app", Once("three", b"a" * 32), Made, work)
    assert (refused.value.code, refused.value.retry_after_s) == ("rate_limited", 3600)
    assert (await kept.do("app", Once("two", b"a" * 32), Made, work))[1]
    await kept.do("other", Once("three", b"a" * 32), Made, work)
    now += keys.NEW_LIMIT_S
    await kept.do("app", Once("three", b"a" * 32), Made, work)
    assert work.done == 4
