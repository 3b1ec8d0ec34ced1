"""The one thread that writes: a queue of units, taken in groups, one durable commit a group.

Group commit: while one commit is on its way to the disk, units gather in the queue; the next commit takes them
all. So the disk sets the pace, and the more there is to write the cheaper each unit becomes. This module knows
transactions and nothing of tables.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from clawdforge.server.store.base import NameTaken, StorageError
from clawdforge.server.store.changes import Op
from clawdforge.server.store.writes import AppendEvents

GROUP_BYTES: Final = 256 * 1024
GROUP_UNITS: Final = 1024
"""Bounds of a group: one commit stays in the milliseconds, for all others wait. A larger unit goes alone."""

LINGER_BYTES: Final = 256 * 1024
"""So much in the queue is written without waiting for company."""


@dataclass(frozen=True, slots=True)
class Unit:
    """Changes that are stored together or not at all, and the future of whoever waits for them.

    `appended` are the events among them, for whoever hears of what was stored; `untidy` says that they leave
    something to tidy up.
    """

    ops: Sequence[Op]
    size_bytes: int
    done: asyncio.Future[None]
    appended: Sequence[AppendEvents] = ()
    untidy: bool = False


class Writer:
    """Owns the writing connection and its thread. `put` and `close` belong to the event loop."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        *,
        tidy: Callable[[sqlite3.Connection], bool],
        on_stored: Callable[[Sequence[Unit]], None],
        loop: asyncio.AbstractEventLoop,
        linger_s: float,
        committed: Callable[[sqlite3.Connection, int], None] = lambda _connection, _size_bytes: None,
    ) -> None:
        """`tidy` does a bounded piece of housekeeping and says whether there may be more.

        `on_stored` hears on the loop of the units of each commit, just after their futures are done; `committed`
        then hears in the writer's thread how large they were.
        """
        self._connection = connection
        self._tidy = tidy
        self._on_stored = on_stored
        self._committed = committed
        self._loop = loop
        self._linger_s = linger_s
        self._linger: asyncio.TimerHandle | None = None
        # What the two threads share; `_changed` guards it.
        self._changed = threading.Condition(threading.Lock())
        self._queue: deque[Unit] = deque()
        self._queued_bytes = 0
        self._due = False  # the queue is to be written now, not kept for company
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def put(self, unit: Unit, *, flush: bool) -> None:
        """Queues a unit; its future is done when it is durable or has failed.

        Raises:
            StorageError: the writer is closed.
        """
        with self._changed:
            if self._closing:
                raise StorageError("The store is closed.")
            self._queue.append(unit)
            self._queued_bytes += unit.size_bytes
            if flush or self._queued_bytes >= LINGER_BYTES:
                self._wake()
        if not flush and self._linger is None:
            self._linger = self._loop.call_later(self._linger_s, self._linger_over)

    def close(self) -> None:
        """Takes no more units, and lets the thread end once what is queued is written."""
        if self._linger is not None:
            self._linger.cancel()
        with self._changed:
            self._closing = True
            self._wake()

    def join(self) -> None:
        """Blocks until the thread has ended and its connection is closed."""
        self._thread.join()

    def _linger_over(self) -> None:
        self._linger = None
        with self._changed:
            if self._queue:
                self._wake()

    def _wake(self) -> None:
        if not self._due:  # else the thread is awake, or on its way
            self._due = True
            self._changed.notify()

    # --- the thread ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            untidy = True  # an earlier life may have left something
            while (group := self._take(wait=not untidy)) is not None:
                if group:
                    self._report(group, self._store(group))
                    self._committed(self._connection, sum(unit.size_bytes for unit in group))
                if untidy or any(unit.untidy for unit in group):
                    untidy = self._tidy_a_piece()
        finally:
            self._connection.close()

    def _take(self, *, wait: bool) -> list[Unit] | None:
        """The next group; an empty one where waiting is not wanted; None once closed and empty."""
        with self._changed:
            while wait and not self._due:
                self._changed.wait()
            if not self._due:
                return []
            group = self._pop_group()
            if not self._queue:
                self._due = self._closing
            return group if group or not self._closing else None

    def _pop_group(self) -> list[Unit]:
        group: list[Unit] = []
        size = 0
        while self._queue and len(group) < GROUP_UNITS:
            size += self._queue[0].size_bytes
            if group and size > GROUP_BYTES:
                break
            unit = self._queue.popleft()
            self._queued_bytes -= unit.size_bytes
            group.append(unit)
        return group

    def _store(self, group: Sequence[Unit]) -> list[StorageError | None]:
        """Stores a group in one transaction; if that fails, its halves, so that only the bad units are lost.

        The good case pays nothing for this: a savepoint around each unit was measured to cost half as much
        again as the unit itself.
        """
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:  # another process holds the lock: no unit's own fault
            return [_as_storage_error(error)] * len(group)
        failure = self._apply_and_commit(group)
        if failure is None or len(group) == 1:
            return [failure] * len(group)
        middle = len(group) // 2
        return self._store(group[:middle]) + self._store(group[middle:])

    def _apply_and_commit(self, group: Sequence[Unit]) -> StorageError | None:
        connection = self._connection
        try:
            for unit in group:
                for op in unit.ops:
                    op(connection)
            connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told to whoever handed the unit in
            self._roll_back()
            return _as_storage_error(error)
        return None

    def _tidy_a_piece(self) -> bool:
        try:
            return self._tidy(self._connection)
        except sqlite3.Error:
            return False  # tried again when there is more of it: it is only housekeeping

    def _roll_back(self) -> None:
        if self._connection.in_transaction:  # some errors have rolled back by themselves
            with suppress(sqlite3.Error):  # then the next BEGIN fails, and says so to its units
                self._connection.execute("ROLLBACK")

    def _report(self, group: Sequence[Unit], outcomes: Sequence[StorageError | None]) -> None:
        """Completes a group's futures, with one wake-up of the loop."""
        try:
            self._loop.call_soon_threadsafe(self._complete, group, outcomes)
        except RuntimeError:  # the loop is closed: nobody waits, and nobody will close us
            with self._changed:
                self._closing = True
                self._due = True

    def _complete(self, group: Sequence[Unit], outcomes: Sequence[StorageError | None]) -> None:
        for unit, error in zip(group, outcomes, strict=True):
            if unit.done.done():  # cancelled: the unit is stored all the same
                continue
            if error is None:
                unit.done.set_result(None)
            else:
                unit.done.set_exception(error)
        self._on_stored([unit for unit, error in zip(group, outcomes, strict=True) if error is None])


def _as_storage_error(error: Exception) -> StorageError:
    """What the caller is told: no value of a row, no path."""
    if isinstance(error, StorageError):
        return error
    if isinstance(error, sqlite3.IntegrityError) and "apps.name" in str(error):
        return NameTaken("An app of this name exists.")
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
            return StorageError(f"There is no room left to store it ({error}).", full=True)
    return StorageError(f"It could not be stored: {error}.")
