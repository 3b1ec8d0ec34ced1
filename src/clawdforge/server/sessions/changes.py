"""What turns change in their workspaces: looked at before each, while its start is stored, and after its answer.

Whatever is done to a workspace next waits for the look after the turn before. Must not know how a look is taken,
nor hold up an answer; what goes wrong with a look is no matter of the turn's.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final
from weakref import WeakValueDictionary

from clawdforge.server.settings import Settings
from clawdforge.server.store.base import SessionRow, Store
from clawdforge.server.workspaces import diff, paths
from clawdforge.server.workspaces.snapshots import Changes, Dropped, Snapshots
from clawdforge.wire.diffs import TurnDiff
from clawdforge.wire.problems import Problem

_log: Final = logging.getLogger(__name__)

ANSWERED_S: Final = 0.005
"""By then the answer of a turn is on its way: a look would get in its way."""

AT_ONCE: Final = 4
"""Looks at workspaces that are taken at the same time: a turn that begins waits for no more than these."""


class SessionChanges:
    """What the turns of one session change. Belongs to the event loop.

    Attributes:
        running: the turn that has begun and is not over.
    """

    def __init__(self, row: SessionRow, snapshots: Snapshots, threads: ThreadPoolExecutor) -> None:
        self._session_id = row.session_id
        self._snapshots = snapshots
        self._threads = threads
        self._alone = threading.Lock()
        self._last: asyncio.Future[None] | None = None
        self._over: int | None = None  # the turn after which nobody has looked yet
        self._timer: asyncio.TimerHandle | None = None
        self.running: int | None = None

    def begin(self, turn_index: int) -> asyncio.Future[None] | None:
        """A turn is about to begin.

        Returns:
            What is done once its workspace was looked at; None where a glance was enough.
        """
        self.running = turn_index
        if self._unchanged():
            if (over := self._no_more_over()) is not None:
                self._next(partial(self._snapshots.over, over))
            return None
        self._look_back()
        return self._next(partial(self._snapshots.begin, turn_index))

    def end(self) -> None:
        """The turn that has begun is over, and changes nothing any more. It is looked at in a moment."""
        if self.running is not None:
            self._over, self.running = self.running, None
            self._timer = asyncio.get_running_loop().call_later(ANSWERED_S, self._look_back)

    async def settled(self) -> None:
        """Returns when no look is due or under way: what is changed from now on is no turn's that is over."""
        self._look_back()
        if self._last is not None:
            await asyncio.wait({self._last})

    async def find(self, turn_index: int, last_index: int) -> Callable[[], TurnDiff]:
        """What finds out, in a thread, what a turn has changed, or has changed so far.

        It raises Problem `not_found` where that is not known.

        Args:
            turn_index: one that has begun.
            last_index: of the session's last turn.
        """
        await self.settled()
        if turn_index == self.running:
            work = partial(self._snapshots.so_far, turn_index)
        else:
            over = last_index if self.running is None else self.running - 1
            work = partial(self._snapshots.changes, turn_index, over)
        return partial(self._told, turn_index, work, running=turn_index == self.running)

    def _unchanged(self) -> bool:
        """Whether a glance shows that nothing has changed since the last look."""
        if (self._last is not None and not self._last.done()) or not self._alone.acquire(blocking=False):
            return False
        try:
            return self._snapshots.unchanged()
        finally:
            self._alone.release()

    def _look_back(self) -> None:
        """Has the workspace looked at after the last turn, where that was not done."""
        if (over := self._no_more_over()) is not None:
            self._next(partial(self._snapshots.end, over))

    def _no_more_over(self) -> int | None:
        over, self._over = self._over, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return over

    def _next(self, look: Callable[[], None]) -> asyncio.Future[None]:
        """Has something done in a thread, after what was to be done before."""
        loop = asyncio.get_running_loop()
        if self._last is None or self._last.done():
            self._last = loop.run_in_executor(self._threads, self._looked, look)
        else:
            self._last = loop.create_task(self._after(self._last, look))
        return self._last

    async def _after(self, last: asyncio.Future[None], look: Callable[[], None]) -> None:
        await asyncio.wait({last})
        await asyncio.get_running_loop().run_in_executor(self._threads, self._looked, look)

    # --- in a thread ---------------------------------------------------------------------------------------

    def _looked(self, look: Callable[[], None]) -> None:
        try:
            with self._alone:
                look()
        except Exception:  # noqa: BLE001 - logged; what the turn has changed is then not known
            _log.exception("a look at the workspace of %s failed", self._session_id)

    def _told(self, turn_index: int, find: Callable[[], Changes], *, running: bool) -> TurnDiff:
        try:
            with self._alone:
                changes = find()
        except Dropped:
            raise Problem("not_found", f"what turn {turn_index} changed is not kept any more") from None
        files, truncated = diff.files(changes)
        return TurnDiff(True, self._session_id, turn_index, running, changes.late, truncated, files)


class TurnChanges:
    """What all turns of a gateway change, by their sessions."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._store = store
        self._data_dir = settings.data_dir
        self._limit_bytes = settings.snapshot_bytes
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="snapshots")
        # One of a session at a time, for as long as anybody has to do with it.
        self._sessions: WeakValueDictionary[str, SessionChanges] = WeakValueDictionary()

    def of(self, row: SessionRow) -> SessionChanges | None:
        """A session's; None where nobody looks: runs, and where the settings say that nothing is kept."""
        if row.kind == "run" or not self._limit_bytes:
            return None
        known = self._sessions.get(row.session_id)
        if known is None:
            place = paths.snapshots_of(self._data_dir, row.session_id)
            snapshots = Snapshots(place, Path(row.cwd), self._limit_bytes)
            known = self._sessions[row.session_id] = SessionChanges(row, snapshots, self._threads)
        return known

    async def find(self, row: SessionRow, turn_index: int | None) -> Callable[[], TurnDiff]:
        """What finds out, in a thread, what a turn has changed (see `registry.Sessions.diff`).

        Raises:
            Problem: `not_found`.
        """
        changes = self.of(row)
        if changes is None:
            raise Problem("not_found", "what turns change is not kept by this gateway")
        wanted = turn_index or changes.running or row.turn_count
        if wanted == 0:
            raise Problem("not_found", "this session has had no turn")
        if wanted != changes.running:
            turn = await self._store.turn(row.session_id, wanted)
            if turn is None:
                raise Problem("not_found", "turn not found")
            if turn.status == "queued":
                raise Problem("not_found", f"turn {wanted} has not begun")
        return await changes.find(wanted, row.turn_count)

    async def close(self) -> None:
        """Returns when no look is under way any more. No turn may run."""
        for each in [*self._sessions.values()]:
            await each.settled()
        self._threads.shutdown(wait=False)
