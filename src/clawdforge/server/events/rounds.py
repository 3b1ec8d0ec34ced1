"""When events that somebody waits for go to the store: at once while it is quiet, in rounds while it is not.

What decides the gateway's speed is how many commits and wake-ups there are, not how many events. So after each
round it rests for some times as long as the round took, from its beginning until its readers had been served, and
what comes meanwhile goes together. Must not know what is handed over.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Protocol

from clawdforge.server.store.base import Store

_log: Final = logging.getLogger(__name__)

_REST: Final = 2.0
"""A rest, in terms of the round before: a third of the time at most goes into rounds, however slow the disk is."""

_LONGEST_REST_S: Final = 0.01


class HandOver(Protocol):
    """Writes what waits, if anything does. With `flush`, it is stored at once, and all before it."""

    def __call__(self, *, flush: bool) -> asyncio.Future[None] | None: ...


class Rounds:
    """The rounds of one gateway. Made on the gateway's loop, belongs to it.

    Args:
        store: where events go.
        followed: whether anybody waits for the events of a session.
    """

    def __init__(self, store: Store, followed: Callable[[str], bool]) -> None:
        self.followed = followed
        self._store = store
        self._loop = asyncio.get_running_loop()
        self._joined: list[HandOver] = []
        self._set = False

    def join(self, hand_over: HandOver) -> None:
        """Has it called in the next round: in the loop's next turn, or after the rest of the round before."""
        self._joined.append(hand_over)
        if not self._set:
            self._set = True
            self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        joined, self._joined = self._joined, []
        self._set = bool(joined)
        if joined:
            began = self._loop.time()
            *others, last = joined
            for each in others:
                self._handed_over(each, flush=False)
            done = self._handed_over(last, flush=True) or self._store.write()
            done.add_done_callback(lambda done: self._stored(done, began))

    def _handed_over(self, hand_over: HandOver, *, flush: bool) -> asyncio.Future[None] | None:
        try:
            return hand_over(flush=flush)
        except Exception:  # noqa: BLE001 - a fault of ours in one session must not hold up all others
            _log.exception("events could not be handed over")
            return None

    def _stored(self, done: asyncio.Future[None], began: float) -> None:
        done.cancelled() or done.exception()  # whoever handed something over hears of it by himself
        self._loop.call_soon(self._served, began)  # behind the readers that were woken by this commit

    def _served(self, began: float) -> None:
        rest_s = min(_REST * (self._loop.time() - began), _LONGEST_REST_S)
        self._loop.call_later(rest_s, self._begin)
