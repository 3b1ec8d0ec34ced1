"""Clears away, now and then, what nobody needs any more: idle sessions, old rows, expired uploads."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import Final

from clawdforge.server.files.uploads import Uploads
from clawdforge.server.sessions.registry import Sessions
from clawdforge.server.store.base import StorageError

_log: Final = logging.getLogger(__name__)


class Reaper:
    """A task that looks every `interval_s` seconds, from its making until `stop`."""

    def __init__(self, sessions: Sessions, uploads: Uploads, interval_s: float) -> None:
        self._sessions = sessions
        self._uploads = uploads
        self._interval_s = interval_s
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Ends the task; a look that has begun is cut off where it waits."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def look(self) -> None:
        """One look at everything."""
        await self._sessions.expire()
        await self._sessions.remove_old()
        await self._uploads.sweep(int(time.time()))

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            try:
                await self.look()
            except (StorageError, OSError) as error:
                _log.error("clearing away failed, and is tried again: %s", error)
