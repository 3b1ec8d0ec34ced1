"""The gateway's own program, run as it is, on a loop that notes for how long at a time it was not looking.

Arguments are those of `clawdforge`. `BENCH_SPANS` names the file that gets a line for each such span: when it
began (monotonic seconds), its length in seconds, and for how much of that the loop's thread was ready to run while
others had the machine's cores.
"""

from __future__ import annotations

import asyncio
import os
import selectors
import time
from pathlib import Path
from typing import Any

from clawdforge.cli import main

NOTED_S = 0.0002


class Noting(selectors.EpollSelector):
    """Between two calls of `select` the loop runs callbacks, and hears of nothing new."""

    def __init__(self) -> None:
        super().__init__()
        self._spans = Path(os.environ["BENCH_SPANS"]).open("w", buffering=1)  # noqa: SIM115 - as long as the loop
        self._schedule = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
        self._woken = time.monotonic()
        self._kept_off = self._kept_off_s()

    def select(self, timeout: float | None = None) -> Any:
        lasted = time.monotonic() - self._woken
        if lasted > NOTED_S:
            kept_off = self._kept_off_s() - self._kept_off
            self._spans.write(f"{self._woken:.6f} {lasted:.6f} {kept_off:.6f}\n")
        found = super().select(timeout)
        self._kept_off = self._kept_off_s()
        self._woken = time.monotonic()
        return found

    def _kept_off_s(self) -> float:
        """All the time that the thread has waited for a core (`/proc/PID/schedstat`, its second number)."""
        return int(os.pread(self._schedule, 100, 0).split()[1]) / 1e9


class NotingPolicy(asyncio.DefaultEventLoopPolicy):
    """Every new loop notes its spans."""

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.SelectorEventLoop(Noting())


asyncio.set_event_loop_policy(NotingPolicy())
main()
