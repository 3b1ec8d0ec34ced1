"""Starts what stands behind a wall: the one place that knows how.

Must not keep book of what it has started.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import closing, nullcontext
from functools import partial
from typing import Any

from clawdforge.server.sandbox import rlimits, walled
from clawdforge.server.sandbox.base import Enclosed
from clawdforge.server.sandbox.group import Group


def popen(enclosed: Enclosed, group: Group | None = None, **streams: Any) -> subprocess.Popen[Any]:
    """Starts a program behind its wall, as the leader of a session of its own, and closes `enclosed`.

    Where the wall is one that a thread takes for good, that thread is made for this one start (`walled`).

    Args:
        enclosed: the program.
        group: in which it is from its first instruction on.
        streams: what `subprocess.Popen` is to be told of stdin, stdout, stderr and their buffers.

    Raises:
        OSError: it could not be started, or not be walled in; nothing is left. Where another program comes before
            it (a shell, what becomes its user), one that is not there is told by an exit code, 127.
    """
    stopped = enclosed.hold is None and (enclosed.restrict is not None or (group is not None and group.holds))
    steps = rlimits.shell(enclosed.rlimits) if enclosed.hold is None else []
    if stopped:
        steps.append("kill -STOP $$")
    before = ("/bin/sh", "-c", " && ".join((*steps, 'exec "$@"')), "sh") if steps else ()
    start = partial(_start, enclosed, group, before, streams)
    with closing(enclosed):
        started = start() if enclosed.restrict is None else walled.start(start)
        try:
            if stopped:
                os.waitid(os.P_PID, started.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            if enclosed.hold is not None:
                rlimits.impose(started.pid, enclosed.rlimits)
            if group is not None:
                group.take(started.pid)
            if stopped:
                started.send_signal(signal.SIGCONT)
        except OSError:
            with started:
                started.kill()
            raise
    return started


def as_user(uid: int | None) -> dict[str, Any]:
    """What `subprocess.Popen` is told so that it starts a program as another user; None: as this one."""
    return {} if uid is None else {"user": uid, "group": uid, "extra_groups": []}


def _start(
    enclosed: Enclosed, group: Group | None, before: Sequence[str], streams: dict[str, Any]
) -> subprocess.Popen[Any]:
    with nullcontext() if group is None else group.inside():
        if enclosed.restrict is not None:
            enclosed.restrict()
        return subprocess.Popen(
            (*enclosed.becoming, *before, *enclosed.argv),
            env=dict(enclosed.env),
            cwd=enclosed.cwd,
            pass_fds=enclosed.fds,
            start_new_session=True,
            **as_user(None if enclosed.becoming else enclosed.uid),
            **streams,
        )
