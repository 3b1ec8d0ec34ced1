"""Limits that each process carries with it, set by the program prlimit on its way to the agent. Pure.

Not set by the gateway: between fork and exec nothing of ours runs.
"""

from __future__ import annotations

from collections.abc import Iterator

from clawdforge.server.sandbox.base import Limits


def command(prlimit: str | None, limits: Limits, *, own_users: bool) -> Iterator[str]:
    """What to put before a command so that it keeps these limits; nothing where none is asked for.

    Args:
        prlimit: that program's path; None: there is none, and nothing is limited.
        own_users: whether processes are counted for this session alone: else the limit would be that of all that
            its user runs.
    """
    wanted = (
        ("nproc", limits.processes if own_users else None),
        ("nofile", limits.open_files),
        ("fsize", limits.file_bytes),
    )
    asked = [f"--{name}={value}" for name, value in wanted if value is not None]
    if asked and prlimit is not None:
        yield from (prlimit, "--core=0", *asked, "--")
