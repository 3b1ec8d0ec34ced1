"""What processes take of the machine: memory, threads, and files that have no name any more.

Must not know whose they are, or how much they may take. Blocking: call it from a thread. Linux only.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

_BLOCK_BYTES: Final = 512  # of st_blocks. Source: stat(2)
_KIB: Final = 1024
_NUMBER: Final = re.compile(rb"^(Threads|VmRSS|VmSwap|Pss|SwapPss):\s+(\d+)", re.MULTILINE)
_READ_BYTES: Final = 16 * 1024


@dataclass(frozen=True, slots=True)
class Footprint:
    """What processes take: memory that is resident or swapped out, each page as often as it is shared; threads."""

    memory_bytes: int
    threads: int


def taken(pids: Iterable[int]) -> Footprint:
    """What these processes take together, those left out that are gone."""
    memory = threads = 0
    for pid in pids:
        told = _numbers(f"/proc/{pid}/status")
        memory += told.get(b"VmRSS", 0) + told.get(b"VmSwap", 0)
        threads += told.get(b"Threads", 0)
    return Footprint(memory * _KIB, threads)


def share_bytes(pids: Iterable[int]) -> int:
    """The memory of these processes, of each page the part that is theirs (PSS): what forks share counts once.

    Costs a hundred times as much as `taken`.
    """
    return sum(_share_kib(pid) for pid in pids) * _KIB


def _share_kib(pid: int) -> int:
    told = _numbers(f"/proc/{pid}/smaps_rollup")
    if b"Pss" in told:
        return told[b"Pss"] + told.get(b"SwapPss", 0)
    # It is gone, or lets only root look into it (PR_SET_DUMPABLE): then all that it shares is its own.
    return taken((pid,)).memory_bytes // _KIB


def unlinked_bytes(pids: Iterable[int], device: int) -> int:
    """What these processes hold open of a device's files that are in no directory: they take room all the same."""
    found = {}
    for pid in pids:
        with suppress(OSError), os.scandir(f"/proc/{pid}/fd") as entries:
            for entry in entries:
                with suppress(OSError):
                    info = entry.stat()
                    if info.st_nlink == 0 and info.st_dev == device and stat.S_ISREG(info.st_mode):
                        found[info.st_ino] = info.st_blocks * _BLOCK_BYTES
    return sum(found.values())


def _numbers(path: str) -> dict[bytes, int]:
    """Lines `Name: number …` of a file of /proc; none where the process is gone, or not ours to look into."""
    with suppress(OSError):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return {name: int(value) for name, value in _NUMBER.findall(os.read(fd, _READ_BYTES))}
        finally:
            os.close(fd)
    return {}
