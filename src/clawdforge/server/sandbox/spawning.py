"""Starts what stands behind a wall: the one place that knows how.

Must not keep book of what it has started.
"""

from __future__ import annotations

import subprocess
from contextlib import nullcontext
from functools import partial
from typing import Any, Final

from clawdforge.server.sandbox import walled
from clawdforge.server.sandbox.base import Enclosed
from clawdforge.server.sandbox.group import Group

# Reads one line, byte by byte: what follows is the program's.
_HELD_BACK: Final = ("/bin/sh", "-c", 'read -r _ && exec "$@"', "sh")


def popen(enclosed: Enclosed, group: Group | None = None, **streams: Any) -> subprocess.Popen[Any]:
    """Starts a program behind its wall, as the leader of a session of its own, and closes `enclosed`.

    Where the wall is one that a thread takes for good, that thread is made for this one start (`walled`).

    Args:
        enclosed: the program.
        group: in which it is from its first instruction on; then its stdin must be a pipe.
        streams: what `subprocess.Popen` is to be told of stdin, stdout, stderr and their buffers.

    Raises:
        OSError: it could not be started, or not be walled in; nothing is left.
    """
    try:
        if enclosed.restrict is None:
            started = _start(enclosed, group, streams)
        else:
            started = walled.start(partial(_start, enclosed, group, streams))
    finally:
        enclosed.close()
    if group is not None and group.holds:
        _moved(started, group)
    return started


def as_user(uid: int | None) -> dict[str, Any]:
    """What `subprocess.Popen` is told so that it starts a program as another user; None: as this one."""
    return {} if uid is None else {"user": uid, "group": uid, "extra_groups": []}


def _start(enclosed: Enclosed, group: Group | None, streams: dict[str, Any]) -> subprocess.Popen[Any]:
    with nullcontext() if group is None else group.inside():
        if enclosed.restrict is not None:
            enclosed.restrict()
        held_back = _HELD_BACK if group is not None and group.holds else ()
        return subprocess.Popen(
            (*held_back, *enclosed.argv),
            env=dict(enclosed.env),
            cwd=enclosed.cwd,
            pass_fds=enclosed.fds,
            start_new_session=True,
            **as_user(enclosed.uid),
            **streams,
        )


def _moved(started: subprocess.Popen[Any], group: Group) -> None:
    """Moves what is held back into its group, and lets it go on."""
    assert started.stdin is not None
    try:
        group.take(started.pid)
        started.stdin.write(b"\n")
        started.stdin.flush()
    except OSError:
        with started:
            started.kill()
        raise
