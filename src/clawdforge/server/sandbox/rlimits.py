"""Limits that each process carries with it, set by the program prlimit on its way to the agent.

Not set by the gateway: between fork and exec nothing of ours runs.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator
from typing import Final

from clawdforge.server.sandbox.base import Limits

_SHARED_FACTOR: Final = 4
_SHARED_LEAST: Final = 4096


def command(prlimit: str | None, limits: Limits, *, own_users: bool) -> Iterator[str]:
    """What to put before a command so that it keeps these limits; nothing where none is asked for.

    Args:
        prlimit: that program's path; None: there is none, and nothing is limited.
        own_users: whether processes are counted for this session alone: else it is by all that its user runs, and
            the limit is so far above one session's that it stops only what would take the machine.
    """
    processes = limits.processes
    if processes is not None and not own_users:
        processes = max(_SHARED_FACTOR * processes, _SHARED_LEAST)
    wanted = (
        ("nproc", processes, resource.RLIMIT_NPROC),
        ("nofile", limits.open_files, resource.RLIMIT_NOFILE),
        ("fsize", limits.file_bytes, resource.RLIMIT_FSIZE),
    )
    asked = [f"--{name}={_at_most(number, value)}" for name, value, number in wanted if value is not None]
    if asked and prlimit is not None:
        yield from (prlimit, "--core=0", *asked, "--")


def _at_most(number: int, value: int) -> int:
    """No more than the gateway has itself; of open files, of which programs ask for more, than it may have."""
    usual, most = resource.getrlimit(number)
    bound = most if number == resource.RLIMIT_NOFILE else usual
    return value if bound == resource.RLIM_INFINITY else min(value, bound)
