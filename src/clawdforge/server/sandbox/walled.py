"""A thread for one start: it takes a wall for good, starts a program, and is gone before that does anything.

Must not know what a wall is.
"""

from __future__ import annotations

import errno
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from threading import Thread
from typing import Any, Final

Started = subprocess.Popen[Any]

_GONE_WITHIN_S: Final = 10.0
_LOOK_AGAIN_S: Final = 0.0001


def start(call: Callable[[], Started]) -> Started:
    """What a call starts, in a thread of its own. When this returns, the kernel knows that thread no more.

    What the call starts must do nothing until then. The thread stands behind the same wall: there a program could
    signal it, which ends the gateway, and read its memory. And to the kernel the thread is the program's parent:
    one that asks for a signal when its parent dies would have it at once.

    Raises:
        OSError: there is no room for a thread, or it does not end; nothing is left.
        Exception: what the call raises.
    """
    started: Future[Started] = Future()
    thread = Thread(target=_run, args=(call, started), name="walled", daemon=True)
    try:
        thread.start()
    except RuntimeError as error:  # so Python tells that there is no room
        raise BlockingIOError(errno.EAGAIN, f"no thread could be started: {error}") from error
    child = started.result()
    # Python calls a thread ended a moment before it is.
    task = Path("/proc/self/task") / str(thread.native_id)
    give_up_at = time.monotonic() + _GONE_WITHIN_S
    while task.exists():
        if time.monotonic() > give_up_at:
            with child:
                child.kill()
            raise TimeoutError("the thread that started a program does not end")
        time.sleep(_LOOK_AGAIN_S)
    return child


def _run(call: Callable[[], Started], started: Future[Started]) -> None:
    try:
        started.set_result(call())
    except BaseException as error:  # noqa: BLE001 - it is the caller's
        started.set_exception(error)
