"""All sessions of the gateway: opened, found, given turns, closed, each for its own app only.

The one place that decides whether a turn may start. Must not know how an agent is reached or a row is stored.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from clawdforge.server.agents.base import AgentFailed, AgentHost, Attachment, Prompt
from clawdforge.server.apps.audit import Audit
from clawdforge.server.apps.keys import Keys, Once
from clawdforge.server.apps.registry import App
from clawdforge.server.data_dir import tell_if_full
from clawdforge.server.events.log import epoch_ms
from clawdforge.server.events.rounds import Rounds
from clawdforge.server.files.uploads import Uploads
from clawdforge.server.sessions import answers, state, verdicts
from clawdforge.server.sessions.admission import Admission
from clawdforge.server.sessions.asked import Ask, Asked
from clawdforge.server.sessions.laying import Laying
from clawdforge.server.sessions.live import LiveSessions
from clawdforge.server.sessions.session import Files, LiveSession
from clawdforge.server.sessions.turn import Deadlines, Turn
from clawdforge.server.sessions.turns import Turns
from clawdforge.server.settings import Settings
from clawdforge.server.store.base import (
    AddSession,
    Change,
    KeyRow,
    SessionKind,
    SessionRow,
    StorageError,
    Store,
    TurnRow,
    UploadRow,
)
from clawdforge.server.workspaces import paths
from clawdforge.wire import codec
from clawdforge.wire.agents import AgentOptions
from clawdforge.wire.problems import Problem
from clawdforge.wire.runs import RunRequest, RunResult
from clawdforge.wire.sessions import SessionCreate, SessionCreated, SessionInfo, SessionItem
from clawdforge.wire.turns import TurnCancelled, TurnRequest, TurnResult

_log: Final = logging.getLogger(__name__)
T = TypeVar("T")
Note = Callable[[int], Change]
"""What is stored with a turn, told its number."""


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
        new_id: Callable[[], str] = lambda: secrets.token_hex(16),
    ) -> None:
        self._settings = settings
        self._store = store
        self._host = host
        self._uploads = uploads
        self._keys = keys
        self._turns = Turns(store)
        self._new_id = new_id
        self._live = LiveSessions(settings, store, host, audit, rounds)
        self._admission = Admission(settings)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._opening: set[asyncio.Task[tuple[SessionCreated, bool]]] = set()

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
        task = self._background(self._create_once(app, request, once))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)
        return await asyncio.shield(task)

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
        if once is None:
            return await self._asked(app, row, request, None, patient=patient)
        return await asyncio.shield(self._background(self._asked_once(app, row, request, once, patient=patient)))

    async def run(
        self, app: App, request: RunRequest, *, once: Once | None = None, patient: bool = False
    ) -> Asked[RunResult]:
        """Lets in a prompt for an agent of its own, as `turn` does.

        Raises:
            Problem: `invalid`, `agent_unavailable`, …; the run's own end is told by its answer.
        """
        if once is None:
            return await self._run_asked(app, request, None, patient=patient)
        return await asyncio.shield(self._background(self._run_once(app, request, once, patient=patient)))

    async def cancel(self, app: App, session_id: str, turn_index: int | None = None) -> TurnCancelled:
        """Ends the running turn of a session or run, or the one that is named, `cancelled`; it has ended then.

        Its agent is asked first, and ended with its tree where it does not heed that in time.

        Raises:
            Problem: `not_found`, also for a turn that never was.
        """
        row = await self.find(app, session_id)
        if turn_index is not None and turn_index > row.turn_count:
            raise Problem("not_found", "turn not found")
        live = self._live.get(session_id)
        asks: list[Ask[Any]] = [] if live is None else live.asks
        ask = next((each for each in asks if turn_index in (None, each.turn.index)), None)
        if ask is None or not ask.turn.stop(state.cancelled()):
            return TurnCancelled(True, False, turn_index)
        await asyncio.wait({ask.answer})
        return TurnCancelled(True, True, ask.turn.index or None)

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
        for live in self._live.all():
            live.stop_queued(state.never_begun())
        if self._tasks and drain_s > 0:
            await asyncio.wait(set(self._tasks), timeout=drain_s)
        self._admission.stopping = True
        for task in self._opening:
            task.cancel()
        for live in self._live.all():
            live.stop_turns(state.interrupted())
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

    async def _create_once(
        self, app: App, request: SessionCreate, once: Once | None
    ) -> tuple[SessionCreated, bool]:
        if once is None:
            return await self._create(app, request, None), False
        async with self._keys.claim(app.app_id, once) as known:
            if known is not None:
                return codec.from_json(SessionCreated, known.answer or {}), True
            return await self._create(app, request, once), False

    async def _create(self, app: App, request: SessionCreate, once: Once | None) -> SessionCreated:
        self._host.check(request)
        self._admission.admit_session(app.app_id)
        row = self._new_row(app, request, "session", request.meta or {})
        agent_cwd = self._host.agent_cwd(Path(row.cwd))
        created = SessionCreated(
            True, row.session_id, row.agent, row.created_at, row.cwd, agent_cwd, self._host.sandbox
        )
        changes: list[Change] = [AddSession(row)]
        if once is not None:
            told = json.loads(codec.text(codec.to_json(created)))
            changes.append(self._keys.note(app.app_id, once, session_id=row.session_id, answer=told))
        self._admission.opened(row)
        try:
            live = await self._made(row)
            live.log.hold()
            await live.wake(self._settings.startup_timeout_secs)
            await live.log.commit(*changes)
        except BaseException as error:
            await self._unmake(row)
            if isinstance(error, AgentFailed):
                raise answers.start_problem(error) from error
            raise
        return created

    async def _asked_once(
        self, app: App, row: SessionRow, request: TurnRequest, once: Once, *, patient: bool
    ) -> Asked[TurnResult]:
        async with self._keys.claim(app.app_id, once) as known:
            if known is not None:
                return await self._again(known, answers.turn_answer)
            asked = await self._asked(app, row, request, once, patient=patient)
            await asyncio.wait({asked.accepted})
            return asked

    async def _run_once(self, app: App, request: RunRequest, once: Once, *, patient: bool) -> Asked[RunResult]:
        async with self._keys.claim(app.app_id, once) as known:
            if known is not None:
                return await self._again(known, partial(answers.run_answer, agent=request.agent))
            asked = await self._run_asked(app, request, once, patient=patient)
            await asyncio.wait({asked.accepted})
            return asked

    async def _again(self, known: KeyRow, answer: Callable[[TurnRow, list[dict[str, Any]]], T]) -> Asked[T]:
        """What the first caller with this key has, or had."""
        assert known.session_id is not None and known.turn_index is not None
        live = self._live.get(known.session_id)
        ask = None if live is None else live.ask_of(known.turn_index)
        if ask is not None:
            return ask.again()
        return await self._turns.asked(known.session_id, known.turn_index, answer)

    async def _asked(
        self, app: App, row: SessionRow, request: TurnRequest, once: Once | None, *, patient: bool
    ) -> Asked[TurnResult]:
        if row.closed_at is not None:
            raise answers.closed()
        verdicts.check_schema(request.schema)
        uploads = await self._uploads.resolve(app.app_id, request.files or ())
        live = await self._live.take_up(row)
        try:
            self._admit_turn(live, queue=request.delivery == "queue")
        except Problem:
            self._live.let_go(live)
            raise
        deadlines = self._deadlines(request, live.options, patient=patient)
        ask: Ask[TurnResult] = Ask(row.session_id, Turn(Prompt(request.prompt, (), request.schema), deadlines))
        live.let_in(ask)
        self._admission.running_turns += 1
        task = self._background(ask.told(self._turn(live, ask, uploads, self._note_of(app, live.row, once))))
        task.add_done_callback(lambda _: self._live.let_go(live))
        return ask

    async def _turn(
        self, live: LiveSession, ask: Ask[TurnResult], uploads: Sequence[UploadRow], note: Note | None
    ) -> TurnResult:
        try:
            row, folded = await live.run_turn(ask, files=self._files(live.row, uploads, ask), note=note)
            return answers.turn_answer(row, folded)
        finally:
            self._admission.running_turns -= 1
            self._admission.used(live.row.session_id)

    async def _run_asked(
        self, app: App, request: RunRequest, once: Once | None, *, patient: bool
    ) -> Asked[RunResult]:
        self._admission.admit_turn()
        self._host.check(request)
        verdicts.check_schema(request.schema)
        uploads = await self._uploads.resolve(app.app_id, request.files or ())
        self._admission.admit_turn()
        row = self._new_row(app, request, "run", {})
        deadlines = self._deadlines(request, request, patient=patient)
        ask: Ask[RunResult] = Ask(row.session_id, Turn(Prompt(request.prompt, (), request.schema), deadlines))
        self._admission.running_turns += 1
        self._background(ask.told(self._run(ask, row, uploads, self._note_of(app, row, once))))
        return ask

    async def _run(
        self, ask: Ask[RunResult], row: SessionRow, uploads: Sequence[UploadRow], note: Note | None
    ) -> RunResult:
        self._admission.opened(row)
        live: LiveSession | None = None
        try:
            live = await self._made(row)
            live.let_in(ask)
            done, folded = await live.run_turn(
                ask, files=self._files(row, uploads, ask), first=AddSession(row), note=note
            )
        finally:
            self._admission.running_turns -= 1
            self._admission.closed(row.session_id)
            if live is None or live.row.turn_count == 0:
                await self._unmake(row)  # it never was
            else:
                # The answer does not wait for the agent to leave.
                self._background(live.end_agent(now=False))
        return answers.run_answer(done, folded, row.agent)

    async def _close(self, live: LiveSession, reason: str) -> None:
        if live.closing is None:
            live.closing = self._background(self._closed(live, reason))
            live.closing.add_done_callback(lambda _: self._live.let_go(live))
        await asyncio.shield(live.closing)

    async def _closed(self, live: LiveSession, reason: str) -> None:
        live.stop_turns(state.cancelled())
        if live.asks:
            await asyncio.wait({ask.answer for ask in live.asks})
        await live.close(reason)
        self._admission.closed(live.row.session_id)

    # --- parts ---------------------------------------------------------------------------------------------

    def _admit_turn(self, live: LiveSession, *, queue: bool) -> None:
        if live.closing is not None or live.row.closed_at is not None:
            raise answers.closed()
        if live.busy and not queue:
            raise answers.turn_in_progress(live.row.session_id)
        if len(live.asks) > self._settings.max_queued_turns:
            raise answers.too_many_queued(self._settings.max_queued_turns)
        self._admission.admit_turn()

    def _note_of(self, app: App, row: SessionRow, once: Once | None) -> Note | None:
        """What is stored of a turn's key, with the turn."""
        if once is None:
            return None
        return lambda index: self._keys.note(app.app_id, once, session_id=row.session_id, turn_index=index)

    def _files(self, row: SessionRow, uploads: Sequence[UploadRow], ask: Ask[Any]) -> Files | None:
        return partial(self._laid, row, uploads, ask.turn.prompt.text) if uploads else None

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
        row = await self.find(app, session_id)
        if row.kind != "session":
            raise Problem("not_found", "session not found")
        return row

    async def _laid(self, row: SessionRow, uploads: Sequence[UploadRow], prompt: str) -> list[Attachment]:
        try:
            return await Laying(self._uploads, uploads, Path(row.cwd), prompt).run()
        except asyncio.CancelledError:
            self._admission.go_on()  # a caller who is told to come back must find that no turn has begun
            raise

    def _deadlines(self, asked: AgentOptions | TurnRequest, options: AgentOptions, *, patient: bool) -> Deadlines:
        """A turn's deadlines: its own, else its session's, else the gateway's."""
        settings = self._settings
        total_s = asked.timeout_secs or options.timeout_secs
        return Deadlines(
            startup_s=asked.startup_timeout_secs or options.startup_timeout_secs or settings.startup_timeout_secs,
            idle_s=asked.idle_timeout_secs or options.idle_timeout_secs or settings.idle_timeout_secs,
            total_s=total_s or (None if patient else settings.turn_timeout_secs),
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
