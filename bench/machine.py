"""The machine that the numbers were taken on: what it is, and how much of it others had meanwhile."""

from __future__ import annotations

import os
import platform
import resource
import time
from pathlib import Path

CORES = os.cpu_count() or 1


class Others:
    """Watches, from its making on, what the cores do for others than this process and its children.

    Children count once they have ended and were waited for, theirs included.
    """

    def __init__(self) -> None:
        self._began_s = time.monotonic()
        self._busy_s = _busy_s()
        self._own_s = _own_s()

    def share(self) -> float:
        """The part of all cores' time that others had, from 0 to 1."""
        busy_s = _busy_s() - self._busy_s
        own_s = _own_s() - self._own_s
        all_s = (time.monotonic() - self._began_s) * CORES
        # The clocks tick apart: over a moment the difference says nothing.
        return min(max(0.0, busy_s - own_s), all_s) / all_s


def described() -> str:
    """Cores, memory, system, in a line."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{CORES} cores ({_cpu()}), {memory_gib:.0f} GiB, {platform.system()} {platform.release().split('-')[0]}"
    )


def _busy_s() -> float:
    """What all cores have worked since the machine started: user, nice, system, irq, softirq."""
    ticks = [int(each) for each in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    return (sum(ticks[0:3]) + sum(ticks[5:7])) / os.sysconf("SC_CLK_TCK")


def _own_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
