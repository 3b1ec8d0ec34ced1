"""All sessions of the gateway: opened, found, given turns, closed, each for its own app only.

What happens to one session, and when, is decided in the rooms that this puts together. Must not know how an agent
is reached or a row is stored.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final, TypeVar

from clawdforge.server.agents.base import AgentHost
from clawdforge.server.apps.audit import Audit
from clawdforge.server.apps.keys import Keys, Once
from clawdforge.server.apps.registry import App
from clawdforge.server.events.rounds import Rounds
from clawdforge.server.files.uploads import Uploads
from clawdforge.server.sessions import answers, state
from clawdforge.server.sessions.admission import Admission
from clawdforge.server.sessions.asked import Asked
from clawdforge.server.sessions.closing import Closing
from clawdforge.server.sessions.forking import Forking
from clawdforge.server.sessions.live import LiveSessions
from clawdforge.server.sessions.opening import Opening, new_id
from clawdforge.server.sessions.prompting import Prompting
from clawdforge.server.sessions.session import LiveSession
from clawdforge.server.sessions.tasks import Tasks
from clawdforge.server.settings import Settings
from clawdforge.server.store.base import StorageError, Store
from clawdforge.server.store.stored import SessionRow
from clawdforge.wire.diffs import TurnDiff
from clawdforge.wire.problems import Problem
from clawdforge.wire.runs import RunRequest, RunResult
from clawdforge.wire.sessions import (
    SessionCreate,
    SessionCreated,
    SessionFork,
    SessionForked,
    SessionInfo,
    SessionItem,
)
from clawdforge.wire.turns import TurnCancelled, TurnRequest, TurnResult

_log: Final = logging.getLogger(__name__)
T = TypeVar("T")


class Sessions:
    """The sessions of one gateway.

    Args:
        settings: the gateway's.
        store: where sessions are kept.
        host: where agents are started.
        uploads: the apps' files.
        audit: who notes what was done.
        rounds: when events that somebody waits for are stored.
        keys: what was asked with an idempotency key.
        new_id: 128 random bits as text, for ids that cannot be guessed.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        host: AgentHost,
        uploads: Uploads,
        audit: Audit,
        rounds: Rounds,
        keys: Keys,
        new_id: Callable[[], str] = new_id,
    ) -> None:
        self._settings = settings
        self._store = store
        self._host = host
        self._live = live = LiveSessions(settings, store, host, audit, rounds)
        self._admission = admission = Admission(settings)
        self._tasks = tasks = Tasks()
        self._made = made = Opening(settings, host, live, admission, keys, new_id)
        self._prompts = Prompting(settings, store, host, uploads, live, admission, keys, made, tasks)
        self._closing = Closing(store, live, admission, tasks)
        self._forks = Forking(settings, store, host, live, admission, keys, made)
        self._opening: set[asyncio.Task[Any]] = set()

    # --- what apps ask for ---------------------------------------------------------------------------------

    async def create(
        self, app: App, request: SessionCreate, once: Once | None = None
    ) -> tuple[SessionCreated, bool]:
        """Opens a session; its agent has started when this returns, and no session is left if it has not.

        Returns:
            The answer, and whether it is that of an earlier call with the same key.

        Raises:
            Problem: `invalid`, `agent_unavailable`, `agent_failed`, `timeout`, `too_many_sessions`, ….
        """
        return await self._opened(self._made.session(app, request, once))

    async def fork(
        self, app: App, session_id: str, request: SessionFork, once: Once | None = None
    ) -> tuple[SessionForked, bool]:
        """Makes a new session of one, open or closed: with its history, its workspace, and what its agent knows.

        Returns:
            The answer, and whether it is that of an earlier call with the same key.

        Raises:
            Problem: `not_found`, `turn_in_progress`, `too_many_sessions`, `storage_full`, `too_large`, ….
        """
        row = await self._row(app, session_id)
        return await self._opened(self._forks.fork(app, row, request, once))

    async def turn(
        self, app: App, session_id: str, request: TurnRequest, *, once: Once | None = None, patient: bool = False
    ) -> Asked[TurnResult]:
        """Lets a prompt into a session; whoever stops waiting for its answer does not stop it.

        Args:
            app: who asks.
            session_id: where.
            request: what.
            once: the key by which the same prompt may be asked again, to hear of the first one.
            patient: nobody holds a connection for the answer: the turn may take as long as it does something.

        Raises:
            Problem: `not_found`, `session_closed`, `turn_in_progress`, …; the answer tells the turn's own end.
        """
        row = await self._row(app, session_id)
        return await self._prompts.turn(app, row, request, once, patient=patient)

    async def run(
        self, app: App, request: RunRequest, *, once: Once | None = None, patient: bool = False
    ) -> Asked[RunResult]:
        """Lets in a prompt for an agent of its own, as `turn` does.

        Raises:
            Problem: `invalid`, `agent_unavailable`, …; the run's own end is told by its answer.
        """
        return await self._prompts.run(app, request, once, patient=patient)

    async def cancel(
        self, app: App, session_id: str, turn_index: int | None = None, once: Once | None = None
    ) -> tuple[TurnCancelled, bool]:
        """Ends the running turn of a session or run, or the one that is named, `cancelled`.

        Its agent is asked first, and ended with its tree where it does not heed that in time. Whatever ends the
        turn, it has ended when this returns.

        Returns:
            The answer, and whether it is that of an earlier call with the same key.

        Raises:
            Problem: `not_found`, also for a turn that never was.
        """
        return await self._prompts.cancel(app, await self.find(app, session_id), turn_index, once)

    async def list_sessions(
        self, app: App, *, include_closed: bool, limit: int | None, before: tuple[int, str] | None
    ) -> list[SessionItem]:
        """The app's own sessions, newest first."""
        rows = await self._store.sessions(app.app_id, include_closed=include_closed, limit=limit, before=before)
        return [answers.session_item(row, self._host.sandbox) for row in rows]

    async def get(self, app: App, session_id: str) -> SessionInfo:
        """One of the app's sessions.

        Raises:
            Problem: `not_found`.
        """
        row = await self._row(app, session_id)
        agent_cwd = self._host.agent_cwd(Path(row.cwd))
        return answers.session_info(row, agent_cwd, self._host.sandbox, self._settings.default_permissions)

    async def diff(self, app: App, session_id: str, turn_index: int | None) -> Callable[[], TurnDiff]:
        """What a turn has changed in the workspace, the last one that has begun where none is named.

        Returns:
            What finds it out, in a thread; it raises Problem `not_found` where that is not kept.

        Raises:
            Problem: `not_found`, also for a turn that never was, or has not begun.
        """
        return await self._live.changes.find(await self._row(app, session_id), turn_index)

    async def settled(self, row: SessionRow) -> None:
        """Returns when what a session's last turn has changed was looked at: what is changed now is none of it."""
        if (changes := self._live.changes.of(row)) is not None:
            await changes.settled()

    async def close(self, app: App, session_id: str, reason: str = "client") -> None:
        """Closes a session, its running turn ending `cancelled`; one that is closed already stays so.

        Raises:
            Problem: `not_found`.
        """
        await self._closing.close(await self._row(app, session_id), reason)

    async def find(self, app: App, session_id: str) -> SessionRow:
        """One of the app's sessions or runs, as it is stored.

        Raises:
            Problem: `not_found`.
        """
        row = await self._live.row(session_id)
        if row is None or row.app_id != app.app_id:
            raise Problem("not_found", "session not found")
        return row

    @property
    def open_count(self) -> int:
        """How many sessions, runs left out, are open."""
        return self._admission.open_sessions

    # --- the gateway's own life ----------------------------------------------------------------------------

    async def recover(self) -> None:
        """Takes up what an earlier life of the gateway left: its running turns end `interrupted`, once.

        Where the disk is full that comes later: what is stored can be read meanwhile, and be removed.
        """
        try:
            await self.end_lost_turns()
        except StorageError as error:  # the reaper tries again, and so does whoever comes to their sessions
            _log.error("turns that an earlier life left have no end yet: %s", error)
        for row in await self._store.open_sessions():
            self._admission.opened(row)

    async def end_lost_turns(self) -> None:
        """Ends turns that nobody runs `interrupted`: their ends are lost."""
        await self._live.end_lost_turns()

    async def shutdown(self, drain_s: float) -> None:
        """Lets running turns end for so long, ends the others `interrupted`, and every agent.

        Sessions stay open: they go on in the gateway's next life.
        """
        self._admission.draining = True
        for live in self._live.all():
            live.prompts.stop_queued(state.never_begun())
        await self._tasks.all_done(drain_s)
        self._admission.stopping = True
        for task in self._opening:
            task.cancel()
        self._opening.clear()  # once, also where this is called twice: what is taken back is taken back whole
        for live in self._live.all():
            live.prompts.stop(state.interrupted())
        await self._tasks.all_done()
        await asyncio.gather(*(live.end_agent(now=False) for live in self._live.all()))
        await self._live.changes.close()

    async def expire(self) -> None:
        """Closes sessions that nobody has used for their time to live."""
        await self._closing.expire()

    def sleep_idle(self) -> None:
        """Ends the agents of sessions that nobody has used for `agent_idle_secs`: their next turns wake them."""
        self._closing.sleep_idle()

    def live(self, session_id: str) -> LiveSession | None:
        """The session of this id, while it has an agent or a turn."""
        return self._live.get(session_id)

    # --- parts ---------------------------------------------------------------------------------------------

    async def _opened(self, work: Coroutine[Any, Any, T]) -> T:
        """Has a session made; whoever stops waiting does not stop it, a gateway that stops does."""
        task = self._tasks.start(work)
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)
        return await asyncio.shield(task)

    async def _row(self, app: App, session_id: str) -> SessionRow:
        row = await self.find(app, session_id)
        if row.kind != "session":
            raise Problem("not_found", "session not found")
        return row
