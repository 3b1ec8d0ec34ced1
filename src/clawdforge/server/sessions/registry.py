"""All sessions of the gateway: opened, found, given turns, closed, each for its own app only.

The one place that decides whether a turn may start. Must not know how an agent is reached or a row is stored.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Final, TypeVar

from clawdforge.server.agents.base import AgentFailed, AgentHost, Attachment
from clawdforge.server.apps.audit import Audit
from clawdforge.server.apps.registry import App
from clawdforge.server.data_dir import tell_if_full
from clawdforge.server.events.log import epoch_ms
from clawdforge.server.events.rounds import Rounds
from clawdforge.server.files.uploads import Uploads
from clawdforge.server.sessions import answers, state, verdicts
from clawdforge.server.sessions.admission import Admission
from clawdforge.server.sessions.laying import Laying
from clawdforge.server.sessions.live import LiveSessions
from clawdforge.server.sessions.session import LiveSession
from clawdforge.server.sessions.turn import Deadlines
from clawdforge.server.settings import Settings
from clawdforge.server.store.base import AddSession, SessionKind, SessionRow, StorageError, Store, UploadRow
from clawdforge.server.workspaces import paths
from clawdforge.wire.agents import AgentOptions
from clawdforge.wire.problems import Problem
from clawdforge.wire.runs import RunRequest, RunResult
from clawdforge.wire.sessions import SessionCreate, SessionCreated, SessionInfo, SessionItem
from clawdforge.wire.turns import TurnRequest, TurnResult

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
        new_id: Callable[[], str] = lambda: secrets.token_hex(16),
    ) -> None:
        self._settings = settings
        self._store = store
        self._host = host
        self._uploads = uploads
        self._new_id = new_id
        self._live = LiveSessions(settings, store, host, audit, rounds)
        self._admission = Admission(settings)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._opening: set[asyncio.Task[SessionCreated]] = set()

    # --- what apps ask for ---------------------------------------------------------------------------------

    async def create(self, app: App, request: SessionCreate) -> SessionCreated:
        """Opens a session; its agent has started when this returns, and no session is left if it has not.

        Raises:
            Problem: `invalid`, `agent_unavailable`, `agent_failed`, `timeout`, `too_many_sessions`, ….
        """
        task = self._background(self._create(app, request))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)
        return await asyncio.shield(task)

    async def turn(self, app: App, session_id: str, request: TurnRequest) -> TurnResult:
        """Runs a turn in a session and waits for its end; a caller that stops waiting does not stop it.

        Raises:
            Problem: `not_found`, `session_closed`, `turn_in_progress`, …, or the turn's own end.
        """
        row = await self._row(app, session_id)
        if row.closed_at is not None:
            raise answers.closed()
        verdicts.check_schema(request.schema)
        uploads = await self._uploads.resolve(app.app_id, request.files or ())
        live = await self._live.take_up(row)
        try:
            self._admit_turn(live)
        except Problem:
            self._live.let_go(live)
            raise
        self._admission.running_turns += 1
        answer: asyncio.Future[TurnResult] = asyncio.get_running_loop().create_future()
        live.task = self._background(_telling(self._turn(live, request, uploads), answer))
        live.task.add_done_callback(lambda _: self._live.let_go(live))
        return await answer

    async def run(self, app: App, request: RunRequest) -> RunResult:
        """Runs one prompt with an agent of its own, and waits for its end.

        Raises:
            Problem: `invalid`, `agent_unavailable`, …, or the turn's own end.
        """
        self._admission.admit_turn()
        self._host.check(request)
        verdicts.check_schema(request.schema)
        uploads = await self._uploads.resolve(app.app_id, request.files or ())
        self._admission.admit_turn()
        self._admission.running_turns += 1
        return await asyncio.shield(self._background(self._run(app, request, uploads)))

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

    async def close(self, app: App, session_id: str, reason: str = "client") -> None:
        """Closes a session, its running turn ending `cancelled`; one that is closed already stays so.

        Raises:
            Problem: `not_found`.
        """
        row = await self._row(app, session_id)
        if row.closed_at is None:
            await self._close(await self._live.take_up(row), reason)

    @property
    def open_count(self) -> int:
        """How many sessions, runs left out, are open."""
        return self._admission.open_sessions

    # --- the gateway's own life ----------------------------------------------------------------------------

    async def recover(self) -> None:
        """Takes up what an earlier life of the gateway left: its running turns end `interrupted`, once."""
        await self.end_lost_turns()
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
        if self._tasks and drain_s > 0:
            await asyncio.wait(set(self._tasks), timeout=drain_s)
        self._admission.stopping = True
        for task in self._opening:
            task.cancel()
        for live in self._live.all():
            live.stop_turn(state.interrupted())
        if self._tasks:
            await asyncio.wait(set(self._tasks))
        await asyncio.gather(*(live.end_agent(now=False) for live in self._live.all()))

    async def expire(self) -> None:
        """Closes sessions that nobody has used for their time to live."""
        for session_id in self._admission.overdue():
            if (live := self._live.get(session_id)) is not None and live.busy:
                continue
            if (row := await self._store.session(session_id)) is not None:
                live = await self._live.take_up(row)
                if not live.busy:  # it may have been used while it was looked up
                    await self._close(live, "idle")

    def is_live(self, session_id: str) -> bool:
        """Whether a session still has an agent or a turn."""
        return self._live.get(session_id) is not None

    # --- steps, each in a task of its own --------------------------------------------------------------------

    async def _create(self, app: App, request: SessionCreate) -> SessionCreated:
        self._host.check(request)
        self._admission.admit_session(app.app_id)
        row = self._new_row(app, request, "session", request.meta or {})
        self._admission.opened(row)
        try:
            live = await self._made(row)
            live.log.hold()
            await live.wake(self._settings.startup_timeout_secs)
            await live.log.commit(AddSession(row))
        except BaseException as error:
            await self._unmake(row)
            if isinstance(error, AgentFailed):
                raise answers.start_problem(error) from error
            raise
        return SessionCreated(
            True,
            row.session_id,
            row.agent,
            row.created_at,
            row.cwd,
            self._host.agent_cwd(Path(row.cwd)),
            self._host.sandbox,
        )

    async def _turn(self, live: LiveSession, request: TurnRequest, uploads: Sequence[UploadRow]) -> TurnResult:
        try:
            if live.closing is not None:
                raise answers.closed()
            return await live.run_turn(
                request.prompt,
                deadlines=self._deadlines(live.options, request.timeout_secs),
                files=self._laid(live.row, uploads, request.prompt) if uploads else None,
                schema=request.schema,
            )
        finally:
            self._admission.running_turns -= 1
            self._admission.used(live.row.session_id)

    async def _run(self, app: App, request: RunRequest, uploads: Sequence[UploadRow]) -> RunResult:
        row = self._new_row(app, request, "run", {})
        self._admission.opened(row)
        live: LiveSession | None = None
        try:
            live = await self._made(row)
            done = await live.run_turn(
                request.prompt,
                deadlines=self._deadlines(request, request.timeout_secs),
                files=self._laid(row, uploads, request.prompt) if uploads else None,
                schema=request.schema,
                first=AddSession(row),
            )
        finally:
            self._admission.running_turns -= 1
            self._admission.closed(row.session_id)
            if live is None or live.row.turn_count == 0:
                await self._unmake(row)  # it never was
            else:
                # The answer does not wait for the agent to leave.
                self._background(live.end_agent(now=False))
        return answers.run_result(done, row.agent, request.schema)

    async def _close(self, live: LiveSession, reason: str) -> None:
        if live.closing is None:
            live.closing = self._background(self._closed(live, reason))
            live.closing.add_done_callback(lambda _: self._live.let_go(live))
        await asyncio.shield(live.closing)

    async def _closed(self, live: LiveSession, reason: str) -> None:
        live.stop_turn(state.cancelled())
        if live.task is not None:
            await asyncio.wait({live.task})
        await live.close(reason)
        self._admission.closed(live.row.session_id)

    # --- parts ---------------------------------------------------------------------------------------------

    def _admit_turn(self, live: LiveSession) -> None:
        if live.closing is not None or live.row.closed_at is not None:
            raise answers.closed()
        if live.busy:
            raise answers.turn_in_progress(live.row.session_id)
        self._admission.admit_turn()

    def _new_row(self, app: App, options: AgentOptions, kind: SessionKind, meta: dict[str, Any]) -> SessionRow:
        session_id = f"{'sess' if kind == 'session' else 'run'}_{self._new_id()}"
        chosen = {field.name: getattr(options, field.name) for field in fields(AgentOptions)}
        return SessionRow(
            session_id=session_id,
            app_id=app.app_id,
            app_name=app.name,
            kind=kind,
            agent=options.agent,
            cwd=str(paths.workspace_of(self._settings.data_dir, session_id)),
            options={name: value for name, value in chosen.items() if value is not None},
            meta=meta,
            created_at=epoch_ms() // 1000,
        )

    async def _made(self, row: SessionRow) -> LiveSession:
        try:
            await asyncio.to_thread(
                paths.make_workspace, self._settings.data_dir, row.session_id, self._host.agent_uid
            )
        except OSError as error:
            tell_if_full(error)
            raise
        return self._live.add(row)

    async def _unmake(self, row: SessionRow) -> None:
        self._admission.closed(row.session_id)
        live = self._live.remove(row.session_id)
        if live is not None:
            await live.end_agent(now=True)
        try:
            await asyncio.to_thread(paths.remove_session, self._settings.data_dir, row.session_id)
        except OSError as error:  # the caller is told why there is no session, not this
            _log.error("the directories of %s could not be removed: %s", row.session_id, error)

    async def _row(self, app: App, session_id: str) -> SessionRow:
        row = await self._live.row(session_id)
        if row is None or row.app_id != app.app_id or row.kind != "session":
            raise Problem("not_found", "session not found")
        return row

    async def _laid(self, row: SessionRow, uploads: Sequence[UploadRow], prompt: str) -> list[Attachment]:
        try:
            return await Laying(self._uploads, uploads, Path(row.cwd), prompt).run()
        except asyncio.CancelledError:
            self._admission.go_on()  # a caller who is told to come back must find that no turn has begun
            raise

    def _deadlines(self, options: AgentOptions, timeout_secs: int | None) -> Deadlines:
        settings = self._settings
        return Deadlines(
            startup_s=settings.startup_timeout_secs,
            idle_s=options.idle_timeout_secs or settings.idle_timeout_secs,
            total_s=timeout_secs or settings.turn_timeout_secs,
            cancel_s=settings.cancel_timeout_secs,
        )

    def _background(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Work that goes on to its end even if nobody waits for it any more."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        # Looked at here, so that a failure is not lost where the caller has gone. What could not be stored is told
        # by its session.
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, Problem | StorageError):
            _log.error("a task of the sessions failed", exc_info=error)


async def _telling(work: Coroutine[Any, Any, T], answer: asyncio.Future[T]) -> T:
    """Does the work, and tells whoever still waits for it; two rounds of the loop sooner than `asyncio.shield`."""
    try:
        result = await work
    except BaseException as error:
        if not answer.done():
            answer.set_exception(error)
        raise
    if not answer.done():
        answer.set_result(result)
    return result
