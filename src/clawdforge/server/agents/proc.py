"""Processes as /proc shows them, and killing exactly the ones that were seen.

Must not know whose they are. Blocking: call it from a thread. Linux only.
"""

from __future__ import annotations

import errno
import itertools
import os
import select
import signal
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, TypeVar

SCARCE: Final = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""Errors that say that nothing can be seen at all, not that nothing is there."""

_WAITED_FOR_LIMIT: Final = 64
_READ_BYTES: Final = 16 * 1024
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ProcessStat:
    """One process as /proc shows it. (`pid`, `started`) names it for ever; a pid alone may be reused.

    It is a `zombie` once all of its threads have ended: until then it may run on though its first one has, and
    there is nothing to reap.
    """

    pid: int
    parent: int
    group: int
    session: int
    started: int
    zombie: bool


def processes() -> Iterator[ProcessStat]:
    """All processes. Raises OSError where nothing can be seen."""
    with os.scandir("/proc") as entries:
        pids = [int(entry.name) for entry in entries if entry.name.isdigit()]
    yield from stats(pids)


def stat_of(pid: int) -> ProcessStat | None:
    """One process; None where there is none of this pid. Raises OSError where nothing can be seen."""
    fields = _stat_fields(pid, 20)
    if not fields:
        return None
    return ProcessStat(
        pid=pid,
        parent=int(fields[1]),
        group=int(fields[2]),
        session=int(fields[3]),
        started=int(fields[19]),
        zombie=fields[0] in (b"Z", b"X") and int(fields[17]) <= 1,
    )


def stats(pids: Iterable[int]) -> Iterator[ProcessStat]:
    """Those of these processes that are there. Raises OSError where nothing can be seen."""
    for pid in pids:
        if (seen := stat_of(pid)) is not None:
            yield seen


def children(pid: int) -> list[int]:
    """The children of a process, ended ones too; none where there is no such process.

    One may be missing while others of them end. Raises OSError where nothing can be seen.
    """
    if not _tells_children():
        return [each.pid for each in processes() if each.parent == pid]
    try:
        with os.scandir(f"/proc/{pid}/task") as entries:
            threads = [entry.name for entry in entries]
    except OSError as error:
        return _gone(error, [])
    files = (read(f"/proc/{pid}/task/{thread}/children") for thread in threads)
    return [int(each) for file in files for each in (file or b"").split()]


def variable(pid: int, name: str) -> str:
    """A variable of a process's environment; "" where it is not set, or not to be seen."""
    prefix = f"{name}=".encode()
    for item in (read(f"/proc/{pid}/environ") or b"").split(b"\0"):
        if item.startswith(prefix):
            return item[len(prefix) :].decode("ascii", "replace")
    return ""


def read(path: str) -> bytes | None:
    """A file of /proc; None where its process is gone, or is not ours to look into."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        return _gone(error, None)
    try:
        parts = []
        while part := os.read(fd, _READ_BYTES):
            parts.append(part)
        return b"".join(parts)
    except OSError as error:
        return _gone(error, None)
    finally:
        os.close(fd)


def wait_for_ends(pids: Iterable[int], limit_ms: int) -> None:
    """Waits until these have ended, at most so long from one end to the next; of many, only for some."""
    pinned = []
    for pid in itertools.islice(pids, _WAITED_FOR_LIMIT):
        with suppress(OSError):
            pinned.append(os.pidfd_open(pid))
    _poll_ends(pinned, limit_ms)


def sent(stat: ProcessStat, number: signal.Signals, *, group: bool = False) -> int | None:
    """Signals one process, or its whole group: so one that starts another and ends does not get away.

    Returns a descriptor of the process, which tells its end; None where it was gone already.
    """
    try:
        fd = os.pidfd_open(stat.pid)
        with ExitStack() as unless_sent:
            unless_sent.callback(os.close, fd)
            # The descriptor pins the process; only now is it sure that the pid is still the one that was seen.
            now = stat_of(stat.pid)
            if now is not None and now.started == stat.started:
                if group:
                    os.killpg(now.group, number)
                else:
                    signal.pidfd_send_signal(fd, number)
                unless_sent.pop_all()
                return fd
    except OSError as error:
        return _gone(error, None)
    return None


def _stat_fields(pid: int, limit: int = -1) -> list[bytes]:
    """What /proc/PID/stat says after the name, so many fields of it; empty where there is no such process."""
    raw = read(f"/proc/{pid}/stat")
    # The name in parentheses may itself hold spaces and parentheses: what counts comes after the last one.
    return raw[raw.rindex(b")") + 2 :].split(maxsplit=limit) if raw else []


def _poll_ends(pinned: Sequence[int], limit_ms: int) -> None:
    """Waits for the ends of pinned processes, at most `limit_ms` from one to the next, and lets go of them."""
    ends = select.poll()
    try:
        for fd in pinned:
            ends.register(fd, select.POLLIN)
        waiting = len(pinned)
        while waiting and (gone := ends.poll(limit_ms)):
            for fd, _ in gone:
                ends.unregister(fd)
            waiting -= len(gone)
    finally:
        for fd in pinned:
            os.close(fd)


@cache
def _tells_children() -> bool:
    """Whether this kernel lists children (CONFIG_PROC_CHILDREN)."""
    return Path(f"/proc/self/task/{os.getpid()}/children").exists()


def _gone(error: OSError, nothing: T) -> T:
    """What is seen of a process that is not there; but that nothing can be seen at all is no sight of nothing."""
    if error.errno in SCARCE:
        raise error
    return nothing
