"""The records of turns, and the answers of those that have ended. Reads what is stored; must not run anything."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from clawdforge.server.sessions import answers
from clawdforge.server.sessions.asked import Accepted, Asked
from clawdforge.server.store.base import Store
from clawdforge.server.store.stored import SessionRow, TurnRow
from clawdforge.wire.fold import Fold
from clawdforge.wire.problems import Problem
from clawdforge.wire.turns import TurnInfo, TurnItem

T = TypeVar("T")


class Turns:
    """The turns of one gateway, those that are under way too."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def page(self, session: SessionRow, *, limit: int, before: int | None) -> list[TurnItem]:
        """A session's turns, newest first; `before` is the last number of the page before."""
        rows = await self._store.turns(session.session_id, limit=limit, before=before)
        return [answers.turn_item(row) for row in rows]

    async def get(self, session: SessionRow, turn_index: int) -> TurnInfo:
        """One turn of a session, with its events so far.

        Raises:
            Problem: `not_found`.
        """
        row = await self._store.turn(session.session_id, turn_index)
        if row is None:
            raise Problem("not_found", "turn not found")
        return await told(self._store, row, partial(answers.turn_info, row))

    async def asked(
        self, session_id: str, turn_index: int, answer: Callable[[TurnRow, list[dict[str, Any]]], T]
    ) -> Asked[T] | None:
        """A turn that has ended, as whoever asked for it by this key again has it; None for one that has not.

        Raises:
            Problem: `not_found` where it is removed.
        """
        row = await self._store.turn(session_id, turn_index)
        if row is None:
            raise Problem("not_found", "what this Idempotency-Key has made is removed: its time is over")
        if row.status in ("queued", "running"):
            return None
        loop = asyncio.get_running_loop()
        asked: Asked[T] = Asked(session_id, loop.create_future(), loop.create_future(), replayed=True)
        asked.accepted.set_result(Accepted(turn_index, 0, row.status))
        try:
            asked.answer.set_result(await told(self._store, row, partial(answer, row)))
        except Problem as problem:
            asked.answer.set_exception(problem)
            asked.answer.exception()  # whoever asks to be told by events does not look at it
        return asked


async def told(store: Store, row: TurnRow, tell: Callable[[list[dict[str, Any]]], T]) -> T:
    """Tells of a turn, given its events, folded. An answer of megabytes is put together beside the loop."""
    events = await store.events(row.session_id, turn_index=row.turn_index)

    def folded() -> T:
        fold = Fold()
        for event in events:
            fold.add(event)
        return tell(fold.result())

    return await asyncio.to_thread(folded)
