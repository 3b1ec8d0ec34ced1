"""Limits that each process carries with it and hands on.

Not set between fork and exec: nothing of ours runs there. Source: getrlimit(2).
"""

from __future__ import annotations

import resource
from collections.abc import Mapping
from typing import Final

from clawdforge.server.sandbox.base import Limits

_SHARED_FACTOR: Final = 4
_SHARED_LEAST: Final = 4096
_STEPS: Final[Mapping[int, str]] = {
    resource.RLIMIT_CORE: "ulimit -c {}",
    resource.RLIMIT_NPROC: "{{ ulimit -p {0} 2>/dev/null || ulimit -u {0}; }}",  # dash, and where sh is bash
    resource.RLIMIT_NOFILE: "ulimit -n {}",
    resource.RLIMIT_FSIZE: "ulimit -f {}",
}
_UNITS: Final[Mapping[int, int]] = {resource.RLIMIT_FSIZE: 512}


def values(limits: Limits, *, own_users: bool) -> dict[int, int]:
    """The limits by the numbers of the module `resource`; where there are any, no process leaves a core.

    Args:
        limits: the session's.
        own_users: whether processes are counted for this session alone: else it is by all that its user runs, and
            the limit is so far above one session's that it stops only what would take the machine.
    """
    processes = limits.processes
    if processes is not None and not own_users:
        processes = max(_SHARED_FACTOR * processes, _SHARED_LEAST)
    wanted = {
        resource.RLIMIT_NPROC: processes,
        resource.RLIMIT_NOFILE: limits.open_files,
        resource.RLIMIT_FSIZE: limits.file_bytes,
    }
    asked = {number: _at_most(number, value) for number, value in wanted.items() if value is not None}
    return {resource.RLIMIT_CORE: 0, **asked} if asked else {}


def impose(pid: int, wanted: Mapping[int, int]) -> None:
    """Sets the limits of a process of our own user, which does nothing yet. Raises OSError where it has ended."""
    for number, value in wanted.items():
        resource.prlimit(pid, number, (value, value))


def shell(wanted: Mapping[int, int]) -> list[str]:
    """The same as steps of a shell, for a process of another user: nobody may set what belongs to that."""
    return [_STEPS[number].format(value // _UNITS.get(number, 1)) for number, value in wanted.items()]


def _at_most(number: int, value: int) -> int:
    """No more than the gateway has itself; of open files, of which programs ask for more, than it may have."""
    usual, most = resource.getrlimit(number)
    bound = most if number == resource.RLIMIT_NOFILE else usual
    return value if bound == resource.RLIM_INFINITY else min(value, bound)
