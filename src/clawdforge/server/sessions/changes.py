"""What turns change in their workspaces: looked at before each, while its start is stored, and after its answer.

Whatever is done to a workspace next waits for the look after the turn before. Must not know how a look is taken,
nor hold up an answer; what goes wrong with a look is no matter of the turn's.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final
from weakref import WeakValueDictionary

from clawdforge.server.settings import Settings
from clawdforge.server.store.base import StorageError, Store
from clawdforge.server.store.stored import SessionRow
from clawdforge.server.workspaces import diff, paths
from clawdforge.server.workspaces.snapshots import Changes, Dropped, Snapshots
from clawdforge.wire import events
from clawdforge.wire.diffs import TurnDiff
from clawdforge.wire.problems import Problem

_log: Final = logging.getLogger(__name__)
_LOOKED_THROUGH: Final = 100

ANSWERED_S: Final = 0.005
"""By then the answer of a turn is on its way: a look would get in its way."""

NOTED_S: Final = 1.0
"""It is noted after so long that a turn has changed nothing: mostly another one has begun by then."""

AT_ONCE: Final = 4
"""Looks at workspaces that are taken at the same time."""


class Lane:
    """The threads as one app uses them, one look at a time: however large its workspaces, others find one free.

    Belongs to the event loop.
    """

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        self._threads = threads
        self._alone = asyncio.Lock()

    async def run(self, look: Callable[[], None]) -> None:
        """Returns when it was done, in a thread, and in its turn."""
        async with self._alone:
            await asyncio.get_running_loop().run_in_executor(self._threads, look)


class SessionChanges:
    """What the turns of one session change. Belongs to the event loop.

    Args:
        session_id: the session's.
        snapshots: where it is kept.
        lane: where that is worked at.
        last_begun: asks for the last of the session's turns that has begun, before the one that is named.

    Attributes:
        running: the turn that has begun and is not over.
    """

    def __init__(
        self,
        session_id: str,
        snapshots: Snapshots,
        lane: Lane,
        last_begun: Callable[[int | None], Awaitable[int]],
    ) -> None:
        self.running: int | None = None
        self._session_id = session_id
        self._snapshots = snapshots
        self._lane = lane
        self._last_begun = last_begun
        self._alone = threading.Lock()
        self._last: asyncio.Future[None] | None = None
        # The turn that is over and was not looked at, or that has changed nothing, which was not noted; and when.
        self._over: int | None = None
        self._noted: int | None = None
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, turn_index: int) -> asyncio.Future[None] | None:
        """A turn is about to begin.

        Returns:
            What is done once its workspace was looked at; None where a glance was enough.
        """
        self.running = turn_index
        if self._unchanged():
            self._forget()
            return None
        self._look_back()
        self._forget()
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

    async def noted(self) -> None:
        """Returns when all is on the disk that there is to know."""
        await self.settled()
        self._note()
        await self.settled()

    async def find(self, turn_index: int) -> Callable[[], TurnDiff]:
        """What finds out, in a thread, what a turn that has begun has changed, or has changed so far.

        It raises Problem `not_found` where that is not known.
        """
        await self.settled()
        if not self._snapshots.loaded:
            await asyncio.wait({self._next(lambda: None)})
        running = turn_index == self.running
        work = self._snapshots.so_far if running else self._snapshots.changes
        return partial(self._told, turn_index, partial(work, turn_index), running=running)

    # --- looks ---------------------------------------------------------------------------------------------

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
        over = self._over
        if over is None:
            return
        self._forget()
        if self._unchanged():
            self._noted = over
            self._timer = asyncio.get_running_loop().call_later(NOTED_S, self._note)
        else:
            self._next(partial(self._snapshots.end, over))

    def _note(self) -> None:
        """Has it noted that the last turn has changed nothing, where no other has begun since."""
        if self._noted is not None:
            self._next(partial(self._snapshots.over, self._noted))
        self._forget()

    def _forget(self) -> None:
        """What was due is done, or of no more use."""
        self._over = self._noted = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _next(self, look: Callable[[], None]) -> asyncio.Future[None]:
        """Has something done in a thread, after what was to be done before."""
        self._last = asyncio.get_running_loop().create_task(self._after(self._last, look))
        return self._last

    async def _after(self, last: asyncio.Future[None] | None, look: Callable[[], None]) -> None:
        if last is not None:
            await asyncio.wait({last})
        if not self._snapshots.loaded:
            try:
                last_begun = await self._last_begun(self.running)
            except StorageError as error:
                _log.error("no look at the workspace of %s: its turns cannot be read: %s", self._session_id, error)
                return
            await self._lane.run(partial(self._looked, partial(self._snapshots.load, last_begun)))
        await self._lane.run(partial(self._looked, look))

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
        self._lanes: WeakValueDictionary[str, Lane] = WeakValueDictionary()  # by their apps

    def of(self, row: SessionRow) -> SessionChanges | None:
        """A session's; None where nobody looks: runs, and where the settings say that nothing is kept."""
        if row.kind == "run" or not self._limit_bytes:
            return None
        known = self._sessions.get(row.session_id)
        if known is None:
            place = paths.snapshots_of(self._data_dir, row.session_id)
            snapshots = Snapshots(place, Path(row.cwd), self._limit_bytes)
            last_begun = partial(self._last_begun, row.session_id)
            lane = self._lanes.get(row.app_id) or Lane(self._threads)
            self._lanes[row.app_id] = lane
            known = SessionChanges(row.session_id, snapshots, lane, last_begun)
            self._sessions[row.session_id] = known
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
        return await changes.find(wanted)

    async def close(self) -> None:
        """Returns when no look is under way any more. No turn may run."""
        for each in [*self._sessions.values()]:
            await each.noted()
        self._threads.shutdown(wait=False)

    async def _last_begun(self, session_id: str, before: int | None) -> int:
        """The last turn of a session that has begun, before the one that is named: others ended as they waited."""
        for row in await self._store.turns(session_id, limit=_LOOKED_THROUGH, before=before):
            first = await self._store.events(session_id, turn_index=row.turn_index, limit=2)
            if any(event.type == events.TURN_START for event in first):
                return row.turn_index
        return 0
