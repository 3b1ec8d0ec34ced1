"""Whether agents can run what is here: where another user may go, and where a wall puts its own directories.

Looks at files only. What a program consists of, `programs` tells.
"""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal

from clawdforge.server.agents.programs import CannotBeShown, below, found_now, places_of, run_by

_Doing = Literal["pass", "run", "read"]
_MENDS: Final[Mapping[_Doing, str]] = {"pass": "x", "run": "rx", "read": "r"}


def check_places(programs: Iterable[Path], own: Iterable[str]) -> None:
    """Refuses what would lie where an agent has directories of its own: one of the two would be hidden.

    Raises:
        CannotBeShown: a path is in the way of such a directory, or lies below it.
    """
    for path in programs:
        for place in own:
            if path.is_relative_to(place) or Path(place).is_relative_to(path):
                raise CannotBeShown(
                    f"{path} is needed to run it, and behind this wall agents have a {place} of their own: "
                    'put it elsewhere, or choose another wall (sandbox = "landlock")'
                )


def check_way(argv: Sequence[str], programs: Sequence[Path], uid: int, *, bound: bool) -> None:
    """Refuses what agents that are another user could not run.

    Judged by modes: where there is an access list, it is the kernel's to judge.

    Args:
        argv: the command line, its program as an absolute path.
        programs: what `consists_of` tells.
        uid: who agents are; their group has the same number, and they have no other.
        bound: the wall shows the programs to them, however closed the directories above are.

    Raises:
        CannotBeShown: a directory, or a file, is closed to them.
    """
    for place, doing in _way(tuple(argv), tuple(programs), bound, found_now(argv)):
        try:
            found = os.stat(place)  # noqa: PTH116 - many, at every start
        except (OSError, ValueError):
            continue  # what is not there is closed to nobody
        do: _Doing = "pass" if stat.S_ISDIR(found.st_mode) else doing
        if not _is_open(found, uid, do) and not _has_access_list(place):
            raise CannotBeShown(
                f"agents are the user {uid} here, who may not {do} {place}: let others "
                f"(chmod o+{_MENDS[do]} {shlex.quote(place)}), or put its program elsewhere"
            )


@lru_cache(maxsize=64)
def _way(
    argv: tuple[str, ...], programs: tuple[Path, ...], bound: bool, _now: tuple[str | int | None, ...]
) -> tuple[tuple[str, _Doing], ...]:
    """Every directory and file on the way to a program, and what agents must be able to do with it."""
    run = [place for program in run_by(Path(argv[0])) for place in places_of(program)]
    named = [Path(word) for word in argv[1:] if word.startswith("/")]
    passed: dict[str, _Doing] = {}
    for path in (*run, *named, *programs):
        for place in (*reversed(path.parents), path):
            if not bound or below(place, map(str, programs)):
                passed[str(place)] = "run" if place in run else "read"
    return tuple(passed.items())


def _is_open(found: os.stat_result, uid: int, do: _Doing) -> bool:
    shift = 6 if found.st_uid == uid else 3 if found.st_gid == uid else 0
    return bool(found.st_mode >> shift & (0o4 if do == "read" else 0o1))


def _has_access_list(path: str) -> bool:
    with suppress(OSError):
        return bool(os.getxattr(path, "system.posix_acl_access"))
    return False
