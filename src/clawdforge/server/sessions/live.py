"""The sessions that have an agent or a turn: taken up from the store when needed, let go when nothing needs them.

Of each there is one `LiveSession` at a time, so that its log has one writer. Must not decide what may be done.
"""

from __future__ import annotations

import asyncio
from weakref import WeakValueDictionary

from clawdforge.server.agents.base import AgentHost
from clawdforge.server.apps.audit import Audit
from clawdforge.server.events.rounds import Rounds
from clawdforge.server.sessions import recovery
from clawdforge.server.sessions.changes import TurnChanges
from clawdforge.server.sessions.session import LiveSession
from clawdforge.server.settings import Settings
from clawdforge.server.store.base import Store
from clawdforge.server.store.stored import SessionRow


class LiveSessions:
    """The live sessions of one gateway, by their ids.

    Attributes:
        changes: what the turns of all sessions change, live or not.
    """

    def __init__(self, settings: Settings, store: Store, host: AgentHost, audit: Audit, rounds: Rounds) -> None:
        self._settings = settings
        self._store = store
        self._host = host
        self._audit = audit
        self._rounds = rounds
        self.changes: TurnChanges = TurnChanges(settings, store)
        self._live: dict[str, LiveSession] = {}
        self._mending: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def all(self) -> list[LiveSession]:
        """Those that there are now."""
        return [*self._live.values()]

    def get(self, session_id: str) -> LiveSession | None:
        """The live session of this id, if it is one; what lies in the store is not looked at."""
        return self._live.get(session_id)

    async def row(self, session_id: str) -> SessionRow | None:
        """A session as it is stored, live or not; None where there is none of this id."""
        live = self._live.get(session_id)
        return await self._store.session(session_id) if live is None else live.row

    def add(self, row: SessionRow, last_seq: int = 0) -> LiveSession:
        """A live session of this row, whose log goes on after `last_seq`."""
        live = LiveSession(
            row,
            store=self._store,
            host=self._host,
            audit=self._audit,
            rounds=self._rounds,
            last_seq=last_seq,
            policy=row.options.get("permissions") or self._settings.default_permissions,
            permission_timeout_s=row.options.get("permission_timeout_secs")
            or self._settings.permission_timeout_secs,
            private=self._settings.data_dir,
            on_idle=self.let_go,
            changes=self.changes.of(row),
        )
        self._live[row.session_id] = live
        return live

    async def take_up(self, row: SessionRow) -> LiveSession:
        """The live session of a row; one that is not live goes on from where its log ends."""
        live = self._live.get(row.session_id)
        if live is not None and live.usable:
            return live
        async with self._alone(row.session_id):
            live = self._live.get(row.session_id)  # somebody else may have been faster
            if live is not None and live.usable:
                return live
            if live is not None:
                await live.end_agent(now=True)
            await self._mend(row.session_id)
            last_seq = await self._store.last_seq(row.session_id)
            return self.add(await self._store.session(row.session_id) or row, last_seq)

    def let_go(self, live: LiveSession) -> None:
        """Forgets a session that nothing needs: it is read from the store when somebody asks for it again."""
        if live.idle and self._live.get(live.row.session_id) is live:
            del self._live[live.row.session_id]

    def remove(self, session_id: str) -> LiveSession | None:
        """Forgets a session that shall not be, whatever it is at. Returns it, for its agent to be ended."""
        return self._live.pop(session_id, None)

    async def end_lost_turns(self) -> None:
        """Ends turns that nobody runs `interrupted`: their ends are lost."""
        found = await self._store.unfinished_turns()
        for session_id in dict.fromkeys(turn.session_id for turn in found):
            async with self._alone(session_id):
                if session_id not in self._live:
                    await self._mend(session_id)

    async def _mend(self, session_id: str) -> None:
        for turn in await self._store.unfinished_turns(session_id):
            await recovery.interrupt(self._store, self._audit, turn)

    def _alone(self, session_id: str) -> asyncio.Lock:
        """Held while a session that is not live, or not usable, is put in order."""
        return self._mending.setdefault(session_id, asyncio.Lock())
