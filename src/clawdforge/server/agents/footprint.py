"""What processes take of the machine: memory, threads, and files that have no name any more.

Must not know whose they are, or how much they may take. Blocking: call it from a thread. Linux only.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

_BLOCK_BYTES: Final = 512  # of st_blocks. Source: stat(2)
_KIB: Final = 1024


def threads(pids: Iterable[int]) -> int:
    """How many threads these processes have; each process is one at least."""
    return sum(_status(pid).get("Threads", 0) for pid in pids)


def memory_bytes(pids: Sequence[int], enough_bytes: int) -> int:
    """What these processes have of the memory and the swap together.

    Where many share a page, as after a fork, it is counted once (PSS). That is asked for only where the sum with
    all shared pages (RSS, which costs a hundredth) is more than `enough_bytes`: else that sum is the answer.
    """
    resident = 0
    for pid in pids:
        told = _status(pid)
        resident += told.get("VmRSS", 0) + told.get("VmSwap", 0)
    if resident * _KIB <= enough_bytes:
        return resident * _KIB
    shared_out = 0
    for pid in pids:
        told = _numbers(Path(f"/proc/{pid}/smaps_rollup"), ("Pss", "SwapPss"))
        shared_out += told.get("Pss", 0) + told.get("SwapPss", 0)
    return shared_out * _KIB


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


def _status(pid: int) -> dict[str, int]:
    return _numbers(Path(f"/proc/{pid}/status"), ("Threads", "VmRSS", "VmSwap"))


def _numbers(path: Path, names: Sequence[str]) -> dict[str, int]:
    """Lines `Name: number …` of a file of /proc; none where the process is gone, or not ours to look into."""
    with suppress(OSError):
        lines = (line.partition(":") for line in path.read_text("utf-8", "replace").splitlines())
        return {name: int(told.split()[0]) for name, _, told in lines if name in names}
    return {}
