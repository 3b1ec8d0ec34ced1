"""Work on whole directories, off the loop: little of it at once, and of one app one at a time.

A directory of a million files takes a second; nobody else shall wait for that, nor for a hundred of those. What is
short takes no part in it: it only waits for what concerns the same session.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar
from weakref import WeakValueDictionary

AT_ONCE: Final = 2

T = TypeVar("T")


class Trees:
    """The work of one gateway. Belongs to the event loop."""

    def __init__(self) -> None:
        self._running = asyncio.Semaphore(AT_ONCE)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def turn(self, of: str) -> asyncio.Lock:
        """What is held by whoever's turn it is, of those that name the same app or session."""
        return self._turns.setdefault(of, asyncio.Lock())

    async def run(self, app_id: str, work: Callable[[], T]) -> T:
        """Does the work in a thread, when it is this app's turn; what it raises is raised."""
        async with self.turn(app_id), self._running:
            return await asyncio.to_thread(work)
