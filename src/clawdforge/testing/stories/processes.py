"""What runs for a session, as /proc shows it. Linux only; knows nothing of gateways but the mark of their agents.

An agent's processes carry `CLAWDFORGE_CHILD=<gateway>:<session>` in their environment; those that have cleared it
are known by their parents.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_MARK: Final = b"CLAWDFORGE_CHILD="


@dataclass(frozen=True, slots=True)
class Process:
    """A process; (`pid`, `started`) names it for ever. `command` is its command line, cut short."""

    pid: int
    parent: int
    started: int
    command: str

    def runs(self) -> bool:
        """Whether it still runs; a zombie does not."""
        now = _stat(self.pid)
        return now is not None and now.started == self.started and not now.zombie

    def is_gone(self) -> bool:
        """Whether it has ended and was reaped."""
        now = _stat(self.pid)
        return now is None or now.started != self.started

    def kill(self) -> None:
        """Kills it at once; no error where it has ended by itself."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)


def of(session_id: str) -> list[Process]:
    """Every process of a session, the one that the gateway started first."""
    return _tree(lambda mark: mark.endswith(f":{session_id}"))


def of_gateway(gateway_id: str) -> list[Process]:
    """Every process of all sessions of a gateway, by the id in its data directory."""
    return _tree(lambda mark: mark.startswith(f"{gateway_id}:"))


def _tree(marked: Callable[[str], bool]) -> list[Process]:
    stats = {stat.pid: stat for stat in _stats() if not stat.zombie}
    found = {pid for pid in stats if marked(_mark(pid))}
    grown = True
    while grown:
        more = {stat.pid for stat in stats.values() if stat.parent in found} - found
        found |= more
        grown = bool(more)
    leaders_first = sorted(found, key=lambda pid: (stats[pid].parent in found, stats[pid].started))
    return [Process(pid, stats[pid].parent, stats[pid].started, _command(pid)) for pid in leaders_first]


@dataclass(frozen=True, slots=True)
class _Stat:
    pid: int
    parent: int
    started: int
    zombie: bool


def _stats() -> Iterator[_Stat]:
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and (stat := _stat(int(entry.name))) is not None:
            yield stat


def _stat(pid: int) -> _Stat | None:
    try:
        raw = (_PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    # The name in parentheses may itself hold spaces and parentheses: what counts comes after the last one.
    fields = raw[raw.rindex(b")") + 2 :].split()
    return _Stat(pid, int(fields[1]), int(fields[19]), fields[0] in (b"Z", b"X"))


def _mark(pid: int) -> str:
    """`gateway:session` of a process; "" where it has none, or has cleared it."""
    with suppress(OSError):
        for item in (_PROC / str(pid) / "environ").read_bytes().split(b"\0"):
            if item.startswith(_MARK):
                return item.removeprefix(_MARK).decode("ascii", "replace")
    return ""


def _command(pid: int) -> str:
    with suppress(OSError):
        return (_PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")[:200]
    return ""
