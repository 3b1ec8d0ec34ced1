"""Work of the sessions that goes on to its end even if nobody waits for it any more. Must not know what it is."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Final, TypeVar

from clawdforge.server.store.base import StorageError
from clawdforge.wire.problems import Problem

_log: Final = logging.getLogger(__name__)
T = TypeVar("T")


async def stored(handed_in: asyncio.Future[None]) -> None:
    """Waits for what the store was given. It cannot be taken back: to be cancelled meanwhile comes too late.

    Raises:
        StorageError: it is not stored.
    """
    while not handed_in.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait({handed_in})
    handed_in.result()


class Tasks:
    """The tasks of one gateway's sessions."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Has it done. A failure that nobody foresaw is logged, also where nobody waits for the task."""
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._forget)
        return task

    async def shielded(self, work: Coroutine[Any, Any, T]) -> T:
        """Does it, and waits for it; who stops waiting does not stop it."""
        return await asyncio.shield(self.start(work))

    async def all_done(self, within_s: float | None = None) -> None:
        """Waits for all that runs now, for so long at most."""
        if self._running and within_s != 0:
            await asyncio.wait(set(self._running), timeout=within_s)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        # Looked at here, so that a failure is not lost where the caller has gone. What could not be stored is told
        # by its session.
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, Problem | StorageError):
            _log.error("a task of the sessions failed", exc_info=error)
