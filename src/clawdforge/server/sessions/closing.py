"""Sessions come to their close: by their app, or because nobody uses them; before that their agents fall asleep.

Must not decide whose session it is.
"""

from __future__ import annotations

import asyncio

from clawdforge.server.sessions import state
from clawdforge.server.sessions.admission import Admission
from clawdforge.server.sessions.live import LiveSessions
from clawdforge.server.sessions.session import LiveSession
from clawdforge.server.sessions.tasks import Tasks
from clawdforge.server.store.base import Store
from clawdforge.server.store.stored import SessionRow


class Closing:
    """Closes the sessions of one gateway."""

    def __init__(self, store: Store, live: LiveSessions, admission: Admission, tasks: Tasks) -> None:
        self._store = store
        self._live = live
        self._admission = admission
        self._tasks = tasks

    async def close(self, row: SessionRow, reason: str) -> None:
        """Closes a session (see `registry.Sessions.close`)."""
        if row.closed_at is None:
            await self._close(await self._live.take_up(row), reason)

    async def expire(self) -> None:
        """Closes sessions that nobody has used for their time to live."""
        for session_id in self._admission.overdue():
            if (live := self._live.get(session_id)) is not None and live.busy:
                continue
            if (row := await self._store.session(session_id)) is not None:
                live = await self._live.take_up(row)
                if not live.busy and self._admission.is_overdue(session_id):  # it may have been used meanwhile
                    await self._close(live, "idle")
                else:
                    self._live.let_go(live)

    def sleep_idle(self) -> None:
        """Ends the agents of sessions that nobody has used for `agent_idle_secs`: their next turns wake them."""
        for live in self._live.all():
            if live.agent is not None and self._admission.drowsy(live.row.session_id):
                live.sleep()

    async def _close(self, live: LiveSession, reason: str) -> None:
        if live.closing is None:
            live.closing = self._tasks.start(self._closed(live, reason))
            live.closing.add_done_callback(lambda _: self._live.let_go(live))
        await asyncio.shield(live.closing)

    async def _closed(self, live: LiveSession, reason: str) -> None:
        live.prompts.stop(state.cancelled())
        if live.prompts.asks:
            await asyncio.wait({ask.answer for ask in live.prompts.asks})
        await live.close(reason)
        self._admission.closed(live.row.session_id)
