"""Idempotency keys: the same POST again, by the same app, does nothing again and hears what the first one heard.

A key is stored in one unit with what it made, and held here from when it is looked up until that is durable: of
two equal POSTs at once the second waits, then finds what the first has made. Must not know what a POST does.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from clawdforge.server.store.base import Store
from clawdforge.server.store.stored import KeyRow
from clawdforge.server.store.writes import AddKey, Change, RemoveKeys
from clawdforge.wire import codec
from clawdforge.wire.problems import Problem

KEPT_S: Final = 86_400
NEW_LIMIT: Final = 100_000
NEW_LIMIT_S: Final = 3_600
"""So many keys may be new in such a time, of one app: each is a row for a day."""

T = TypeVar("T")
Note = Callable[[Any], Change]
"""What is stored with what a POST has made, told its answer."""


@dataclass(frozen=True, slots=True)
class Once:
    """What a POST shall do once: the key that its caller gave, and the hash of all that it asks, 32 bytes."""

    key: str
    fingerprint: bytes


@dataclass(slots=True)
class _Counted:
    """How many new keys an app has had since a time (epoch seconds)."""

    since: float
    new: int = 0


@dataclass(slots=True)
class _Held:
    """One key in use, and how many want it."""

    lock: asyncio.Lock
    wanted: int = 0


class Keys:
    """The keys of one gateway. Belongs to the event loop."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
        self._held: dict[tuple[str, str], _Held] = {}
        self._counted: dict[str, _Counted] = {}

    @asynccontextmanager
    async def claim(self, app_id: str, once: Once) -> AsyncIterator[KeyRow | None]:
        """Holds a key, so that nobody else does the same meanwhile.

        Within it, either there is a row of what was made before, or None: then do it, and store `note` with it.

        Raises:
            Problem: `idempotency_mismatch` where the key was used for something else; `rate_limited` where the app
                has had too many new ones.
        """
        place = (app_id, once.key)
        held = self._held.setdefault(place, _Held(asyncio.Lock()))
        held.wanted += 1
        try:
            async with held.lock:
                known = await self._known(app_id, once)
                if known is None:
                    self._count(app_id)
                yield known
        finally:
            held.wanted -= 1
            if not held.wanted:
                del self._held[place]

    async def do(
        self, app_id: str, once: Once | None, kind: type[T], work: Callable[[Note | None], Awaitable[T]]
    ) -> tuple[T, bool]:
        """Does something once for its key, if it has one.

        Args:
            app_id: who asks.
            once: the key.
            kind: the wire type of the answer.
            work: does it. Told a function, it stores what that returns, told the answer, in one unit with what it
                makes.

        Returns:
            The answer, and whether it is that of an earlier call with the same key.

        Raises:
            Problem: `idempotency_mismatch`; whatever `work` raises, and then nothing is kept.
        """
        if once is None:
            return await work(None), False
        async with self.claim(app_id, once) as known:
            if known is not None:
                return codec.from_json(kind, known.answer or {}), True
            return await work(lambda answer: self.note(app_id, once, answer=answer)), False

    def note(
        self,
        app_id: str,
        once: Once,
        *,
        session_id: str | None = None,
        turn_index: int | None = None,
        answer: Any = None,
    ) -> AddKey:
        """What has to be stored in one unit with what a POST has made: a turn of a session, or else its answer.

        `answer` is a value of the wire; what is kept of it is its JSON.
        """
        told = None if answer is None else json.loads(codec.whole(answer))
        return AddKey(KeyRow(app_id, once.key, once.fingerprint, int(self._clock()), session_id, turn_index, told))

    async def sweep(self, now: int) -> None:
        """Forgets the keys that are old enough at `now` (epoch seconds)."""
        await self._store.write(RemoveKeys(now - KEPT_S))

    def _count(self, app_id: str) -> None:
        now = self._clock()
        counted = self._counted.get(app_id)
        if counted is None or not 0 <= now - counted.since < NEW_LIMIT_S:
            counted = self._counted[app_id] = _Counted(now)
        if counted.new >= NEW_LIMIT:
            wait_s = math.ceil(counted.since + NEW_LIMIT_S - now)
            raise Problem("rate_limited", f"more than {NEW_LIMIT} new keys in an hour", retry_after_s=wait_s)
        counted.new += 1

    async def _known(self, app_id: str, once: Once) -> KeyRow | None:
        row = await self._store.key(app_id, once.key)
        if row is not None and row.fingerprint != once.fingerprint:
            detail = "this Idempotency-Key was used for another request: take a new key for each thing to be done"
            raise Problem("idempotency_mismatch", detail)
        return row
