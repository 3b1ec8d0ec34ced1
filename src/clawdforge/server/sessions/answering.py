"""How an app answers what the agents of its sessions and runs ask. Must not decide what an answer means."""

from __future__ import annotations

from functools import partial

from clawdforge.server.apps.keys import Keys, Note, Once
from clawdforge.server.apps.registry import App
from clawdforge.server.sessions import answers
from clawdforge.server.sessions.registry import Sessions
from clawdforge.server.store.base import Store
from clawdforge.wire.permissions import PermissionAnswered, PermissionItem, PermissionReply


class Answering:
    """The permission requests of one gateway, each for its own app only."""

    def __init__(self, store: Store, sessions: Sessions, keys: Keys) -> None:
        self._store = store
        self._sessions = sessions
        self._keys = keys

    async def waiting(self, app: App, session_id: str) -> list[PermissionItem]:
        """What waits for an answer in a session or run, oldest first.

        Raises:
            Problem: `not_found`.
        """
        await self._sessions.find(app, session_id)
        live = self._sessions.live(session_id)
        return [] if live is None else live.asking.waiting()

    async def answer(
        self, app: App, session_id: str, permission_id: str, reply: PermissionReply, once: Once | None = None
    ) -> tuple[PermissionAnswered, bool]:
        """Answers a request. The first answer counts; it is stored when this returns.

        Returns:
            What the agent was told, and whether that was so by an earlier call with the same key.

        Raises:
            Problem: `not_found`; `permission_answered`, which says what was decided; `invalid` for what the agent
                does not offer.
        """
        await self._sessions.find(app, session_id)
        answer = partial(self._answer, app, session_id, permission_id, reply)
        return await self._keys.do(app.app_id, once, PermissionAnswered, answer)

    async def _answer(
        self, app: App, session_id: str, permission_id: str, reply: PermissionReply, note: Note | None
    ) -> PermissionAnswered:
        live = self._sessions.live(session_id)
        if live is not None:
            told = await live.asking.answer(permission_id, reply, f"app:{app.name}", note)
            if told is not None:
                return told
            await live.log.commit()  # another answer may be on its way to the store
        found = await self._store.permission_answer(session_id, permission_id)
        raise answers.unanswerable(None if found is None else found.data)
