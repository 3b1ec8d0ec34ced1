"""Clears away, now and then, what nobody needs: lost turns, idle agents and sessions, old rows, old uploads."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import Final

from clawdforge.server.apps.keys import Keys
from clawdforge.server.files.uploads import Uploads
from clawdforge.server.sessions.registry import Sessions
from clawdforge.server.settings import Settings
from clawdforge.server.store.base import Store
from clawdforge.server.store.writes import RemoveSession
from clawdforge.server.workspaces import paths

_log: Final = logging.getLogger(__name__)
_AT_ONCE: Final = 100


class Reaper:
    """A task that looks every `reap_interval_secs`, from its making until `stop`."""

    def __init__(self, settings: Settings, store: Store, sessions: Sessions, uploads: Uploads, keys: Keys) -> None:
        self._settings = settings
        self._store = store
        self._sessions = sessions
        self._uploads = uploads
        self._keys = keys
        # Before any session is opened: what nobody knows among these nobody will ever know.
        self._found = paths.session_ids(settings.data_dir)
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Ends the task; a look that has begun is cut off where it waits."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._settings.reap_interval_secs)
            try:
                await self._sessions.end_lost_turns()
                await self._sessions.expire()
                self._sessions.sleep_idle()
                await self._remove_old()
                await self._remove_unknown()
                await self._uploads.sweep(int(time.time()))
                await self._keys.sweep(int(time.time()))
            except Exception:  # noqa: BLE001 - whatever it was: the next look comes, and its log says this one failed
                _log.exception("clearing away failed, and is tried again")

    async def _remove_unknown(self) -> None:
        """Removes the directories of sessions that were being opened when an earlier life of the gateway ended."""
        while self._found:
            session_id = self._found.pop()
            if await self._store.session(session_id) is None:
                await self._remove_directories(session_id)

    async def _remove_old(self) -> None:
        """Removes sessions whose time after their close is over, workspaces too."""
        before = int(time.time()) - self._settings.session_hard_ttl_secs
        for row in await self._store.closed_before(before, _AT_ONCE):
            if self._sessions.live(row.session_id) is not None:
                continue
            if await self._remove_directories(row.session_id):
                await self._store.write(RemoveSession(row.session_id))

    async def _remove_directories(self, session_id: str) -> bool:
        try:
            await asyncio.to_thread(paths.remove_session, self._settings.data_dir, session_id)
        except OSError as error:
            # One that cannot be removed must not keep the others; it is tried again.
            _log.error("the directories of %s could not be removed: %s", session_id, error)
            return False
        return True
