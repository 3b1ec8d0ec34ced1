"""An event loop whose clock stands still until a test moves it. Threads and files are as real as ever."""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from contextvars import Context
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop with a clock of its own, in seconds. What waits for a time, waits for `advance`."""

    _ready: deque[asyncio.Handle]  # asyncio's own: what its next round will call

    def __init__(self) -> None:
        self._now = 1_000_000.0
        self._times: list[float] = []
        self._pending: set[asyncio.Future[Any]] = set()
        super().__init__()

    def time(self) -> float:
        return self._now

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        heapq.heappush(self._times, when)
        return super().call_at(when, callback, *args, context=context)

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts
    ) -> asyncio.Future[T]:
        return self.watched(super().run_in_executor(executor, func, *args))

    def watched(self, future: asyncio.Future[T]) -> asyncio.Future[T]:
        """A future that a thread will complete: `settle` waits for it."""
        self._pending.add(future)
        future.add_done_callback(self._pending.discard)
        return future

    def settle(self) -> None:
        """Runs until everything waits for a time, or for the test."""
        self.run_until_complete(self._settled())

    def advance(self, seconds: float) -> None:
        """Moves the clock, and stops at every time that something waits for."""
        end = self._now + seconds
        self.settle()
        while self._times and self._times[0] <= end:
            self._now = max(self._now, heapq.heappop(self._times))
            self.settle()
        self._now = end

    def call(self, function: Callable[..., object], *args: Any) -> None:
        """Calls something as the loop itself would; nothing of what follows has happened then."""

        async def within() -> None:
            function(*args)

        self.run_until_complete(within())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Does work that waits for no time."""
        return self.run_until_complete(work)

    async def _settled(self) -> None:
        while self._pending or self._ready:
            if self._pending:
                await asyncio.wait([*self._pending])
            await asyncio.sleep(0)  # to run again behind all that is ready now
