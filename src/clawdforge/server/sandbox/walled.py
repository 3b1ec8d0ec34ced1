"""A thread for one start: it takes a wall for good, starts a program, and lives as long as that does.

Must not know what a wall is, nor reap what it started.
"""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from threading import Thread
from typing import Any

Started = subprocess.Popen[Any]


def start(call: Callable[[], Started]) -> Started:
    """What a call starts, in a thread of its own.

    The thread does nothing else, and is not gone before its child is: a program that has asked to hear of its
    parent's death would hear of it, and to the kernel its parent is the thread.

    Raises:
        OSError: there is no room for a thread.
        Exception: what the call raises; then the thread ends at once.
    """
    started: Future[Started] = Future()
    thread = Thread(target=_run, args=(call, started), name="walled", daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        raise BlockingIOError(errno.EAGAIN, f"no thread could be started: {error}") from error
    return started.result()


def _run(call: Callable[[], Started], started: Future[Started]) -> None:
    try:
        child = call()
    except BaseException as error:  # noqa: BLE001 - it is the caller's
        started.set_exception(error)
        return
    pid = child.pid
    started.set_result(child)
    del child, started, call  # what they hold is not held for as long as the child lives
    with suppress(ChildProcessError):  # it was reaped already
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
