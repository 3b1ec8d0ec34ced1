"""Brings what was committed from SQLite's log file into the database, beside the writer.

A checkpoint writes pages all over the database and waits for the disk. Left to SQLite, one commit in some hundreds
waits for that, and whoever comes after it. Here another thread does it, again and again until nothing has come
meanwhile: by the next commit the log file then begins anew. Where too much is written for that,
the writer does the last of it. Knows nothing of tables.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from typing import Final

PAGES: Final = 1000
"""About so many pages of the log file are brought over at a time."""

_PAGE_BYTES: Final = 4096
_ROW_PAGES: Final = 2
"""A row's own, and that of an index."""

_PASSES: Final = 4
"""So often all that there is is brought over, each time what has come since the last."""

_PASSIVE: Final = "PRAGMA wal_checkpoint(PASSIVE)"


class Checkpoints:
    """The checkpoints of one database. `committed` belongs to the thread that writes."""

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        """`connect` opens a connection of its own; it is called in another thread."""
        self._connect = connect
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store-checkpoint")
        self._thread.submit(lambda: None)  # begun now: where no thread can be had later the writer would end by it
        self._beside: Future[None] | None = None
        self._whole = False  # in the end nothing was left by it
        self._pages = 0
        self._rows = 0

    def committed(self, writing: sqlite3.Connection, size_bytes: int) -> None:
        """So much was just committed. May begin a checkpoint beside; does what one that is done there has left."""
        rows, self._rows = self._rows, writing.total_changes
        self._pages += _ROW_PAGES * (self._rows - rows) + size_bytes // _PAGE_BYTES
        if self._beside is None:
            if self._pages >= PAGES:
                self._beside = self._thread.submit(self._run)
        elif self._beside.done():
            if not self._whole:
                with suppress(sqlite3.Error):  # a full disk: SQLite tries again, when its own measure is full
                    writing.execute(_PASSIVE)
            self._beside, self._pages = None, 0

    def close(self) -> None:
        """Blocks until none is under way."""
        self._thread.shutdown()

    def _run(self) -> None:
        self._whole = False
        before = -1
        with suppress(sqlite3.Error), closing(self._connect()) as connection:
            for _ in range(_PASSES):
                busy, frames, brought_over = connection.execute(_PASSIVE).fetchone()
                if busy:
                    break
                if brought_over == frames <= before:  # nothing came since the pass before, or the log began anew
                    self._whole = True
                    break
                before = frames
