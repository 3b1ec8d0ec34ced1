"""Somebody who has two names change places as fast as it goes: now a directory, now a link to elsewhere."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

AT_CWD = -100
EXCHANGE = 2  # one step of the file system: there is no moment at which either is missing


@contextmanager
def swapping(one: Path, other: Path) -> Iterator[None]:
    """Swaps these until the block ends; it has begun when the block does."""
    renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    begun, done = threading.Event(), threading.Event()

    def swap() -> None:
        while not done.is_set():
            if renameat2(AT_CWD, bytes(one), AT_CWD, bytes(other), EXCHANGE) < 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            begun.set()

    thread = threading.Thread(target=swap)
    thread.start()
    assert begun.wait(30)
    try:
        yield
    finally:
        done.set()
        thread.join()
