"""Starts what stands behind a wall: the one place that knows how.

Must not keep book of what it has started.
"""

from __future__ import annotations

import subprocess
from functools import partial
from typing import Any

from clawdforge.server.sandbox import walled
from clawdforge.server.sandbox.base import Enclosed


def popen(enclosed: Enclosed, **streams: Any) -> subprocess.Popen[Any]:
    """Starts a program behind its wall, as the leader of a session of its own, and closes `enclosed`.

    Where the wall is one that a thread takes for good, that thread is made for this one start (`walled`).

    Args:
        streams: what `subprocess.Popen` is to be told of stdin, stdout, stderr and their buffers.

    Raises:
        OSError: it could not be started, or not be walled in; nothing is left.
    """
    try:
        if enclosed.restrict is None:
            return _start(enclosed, streams)
        return walled.start(partial(_start, enclosed, streams))
    finally:
        enclosed.close()


def as_user(uid: int | None) -> dict[str, Any]:
    """What `subprocess.Popen` is told so that it starts a program as another user; None: as this one."""
    return {} if uid is None else {"user": uid, "group": uid, "extra_groups": []}


def _start(enclosed: Enclosed, streams: dict[str, Any]) -> subprocess.Popen[Any]:
    if enclosed.restrict is not None:
        enclosed.restrict()
    return subprocess.Popen(
        enclosed.argv,
        env=dict(enclosed.env),
        cwd=enclosed.cwd,
        pass_fds=enclosed.fds,
        start_new_session=True,
        **as_user(enclosed.uid),
        **streams,
    )
