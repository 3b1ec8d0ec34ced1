"""Ends what an earlier life of this gateway has left, which it could not end itself: it was killed.

A leftover bears a mark of this gateway (`marks`). Where agents are a user of their own, what has put off its marks
is known by that user and by this data directory too: it runs from it, in it, or with a file of it open. Must never
end a process by its name. Blocking (it reads /proc): call it from a thread. Linux only.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from clawdforge.server.agents import marks, proc
from clawdforge.server.agents.proc import ProcessStat

_QUIET_LOOKS: Final = 2
_END_WITHIN_S: Final = 10.0
_DIES_WITHIN_MS: Final = 100


def end(gateway_id: str, places: Sequence[Path], agent_uid: int | None) -> list[int]:
    """Kills every process that an earlier life of this gateway left. Returns their pids.

    Args:
        gateway_id: names the gateway over all its lives.
        places: directories of this data directory that agents write to, their links resolved.
        agent_uid: who agents are, where they are not the gateway's own user. Of that own user nothing is ended for
            where it is: a person's shell may be there.
    """
    ended: set[int] = set()
    quiet_looks = 0
    give_up_at = time.monotonic() + _END_WITHIN_S
    while quiet_looks < _QUIET_LOOKS and time.monotonic() < give_up_at:  # they may start others meanwhile
        own = _own_line()
        found = []
        for each in proc.processes():
            if each.pid in own or each.zombie:
                continue
            if marks.is_of(each.pid, gateway_id) or _of_agents(each, agent_uid, places):
                _kill(each, own.values())
                found.append(each.pid)
        proc.wait_for_ends(found, _DIES_WITHIN_MS)
        ended.update(found)
        quiet_looks = 0 if found else quiet_looks + 1
    return sorted(ended)


def _own_line() -> dict[int, int]:
    """This process and those that it descends from, with their groups: an agent can have started a gateway."""
    line: dict[int, int] = {}
    pid = os.getpid()
    while pid not in line and (seen := proc.stat_of(pid)) is not None:
        line[pid] = seen.group
        pid = seen.parent
    return line


def _kill(process: ProcessStat, own_groups: Collection[int]) -> None:
    if (fd := proc.sent(process, signal.SIGKILL, group=process.group not in own_groups)) is not None:
        os.close(fd)


def _of_agents(process: ProcessStat, agent_uid: int | None, places: Sequence[Path]) -> bool:
    if agent_uid is None:
        return False
    with suppress(OSError):  # it is gone
        if Path(f"/proc/{process.pid}").stat().st_uid == agent_uid:
            return any(path.is_relative_to(place) for path in _held(process.pid) for place in places)
    return False


def _held(pid: int) -> Iterator[Path]:
    """What a process runs from, where it is, and what it has open."""
    folder = Path(f"/proc/{pid}")
    links = [folder / name for name in ("cwd", "root", "exe")]
    with suppress(OSError):
        links += (folder / "fd").iterdir()
    for link in links:
        with suppress(OSError):
            yield link.readlink()
