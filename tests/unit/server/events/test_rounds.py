"""Rounds: at once while it is quiet, together while it is not, and never more than one on its way."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from clawdforge.server.events.rounds import Rounds
from clawdforge.server.store.base import StorageError
from clawdforge.server.store.writes import Change

DEADLINE_S = 20


class Slow:
    """A store that stores when it is told to."""

    def __init__(self) -> None:
        self.flushed: list[bool] = []
        self.waiting: list[asyncio.Future[None]] = []
        self.wrote = asyncio.Event()

    def write(self, *_: Change, flush: bool = True) -> asyncio.Future[None]:
        self.flushed.append(flush)
        self.waiting.append(asyncio.get_running_loop().create_future())
        self.wrote.set()
        return self.waiting[-1]

    def finish(self, error: StorageError | None = None) -> None:
        waiting, self.waiting = self.waiting, []
        self.wrote.clear()
        for future in waiting:
            future.set_result(None) if error is None else future.set_exception(error)

    async def until_it_writes(self) -> None:
        await asyncio.wait_for(self.wrote.wait(), DEADLINE_S)


class Hand:
    """Somebody who hands over, or has nothing to."""

    def __init__(self, store: Slow, *, empty: bool = False) -> None:
        self.store = store
        self.empty = empty
        self.called = 0

    def over(self, *, flush: bool) -> asyncio.Future[None] | None:
        self.called += 1
        return None if self.empty else self.store.write(flush=flush)


def rounds_of(store: Any) -> Rounds:
    return Rounds(store, lambda _: True)


async def test_while_it_is_quiet_a_round_is_in_the_next_turn_of_the_loop() -> None:
    store = Slow()
    hand = Hand(store)
    rounds_of(store).join(hand.over)
    assert hand.called == 0
    await asyncio.sleep(0)
    assert hand.called == 1
    assert store.flushed == [True]
    store.finish()


async def test_all_who_join_before_it_begins_are_one_flush() -> None:
    store = Slow()
    rounds = rounds_of(store)
    hands = [Hand(store) for _ in range(5)]
    for hand in hands:
        rounds.join(hand.over)
    await asyncio.sleep(0)
    assert store.flushed == [False] * 4 + [True]
    assert [hand.called for hand in hands] == [1] * 5
    store.finish()


async def test_where_the_last_has_nothing_the_others_are_flushed_all_the_same() -> None:
    store = Slow()
    rounds = rounds_of(store)
    rounds.join(Hand(store).over)
    rounds.join(Hand(store, empty=True).over)
    await asyncio.sleep(0)
    assert store.flushed == [False, True]
    store.finish()


async def test_who_joins_while_a_round_is_on_its_way_goes_with_the_next_one() -> None:
    store = Slow()
    rounds = rounds_of(store)
    rounds.join(Hand(store).over)
    await asyncio.sleep(0)
    late = [Hand(store) for _ in range(3)]
    for hand in late:
        rounds.join(hand.over)
    for _ in range(10):
        await asyncio.sleep(0)
    assert [hand.called for hand in late] == [0] * 3
    store.finish()
    await store.until_it_writes()
    assert [hand.called for hand in late] == [1] * 3
    assert store.flushed == [True, False, False, True]
    store.finish()


async def test_one_who_fails_holds_up_nobody(caplog: pytest.LogCaptureFixture) -> None:
    def fails(*, flush: bool) -> asyncio.Future[None] | None:
        raise LookupError("odd")

    store = Slow()
    rounds = rounds_of(store)
    first, second = Hand(store), Hand(store)
    for hand_over in (first.over, fails, second.over, fails):
        rounds.join(hand_over)
    await asyncio.sleep(0)
    assert store.flushed == [False, False, True]
    assert caplog.text.count("LookupError: odd") == 2
    store.finish()


async def test_a_round_that_could_not_be_stored_stops_no_later_one() -> None:
    store = Slow()
    rounds = rounds_of(store)
    rounds.join(Hand(store).over)
    await asyncio.sleep(0)
    store.finish(StorageError("no room"))
    rounds.join(Hand(store).over)
    await store.until_it_writes()
    assert store.flushed == [True, True]
    store.finish()
