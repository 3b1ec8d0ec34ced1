"""Prompts are let in, and cancelled: of a session or as a run, once for each key, with their files and deadlines.

The one place that decides whether a turn may start. Must not know how a turn is played.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from clawdforge.server.agents.base import AgentHost, Attachment, Prompt
from clawdforge.server.apps.keys import Keys, Once
from clawdforge.server.apps.keys import Note as KeyNote
from clawdforge.server.apps.registry import App
from clawdforge.server.files.uploads import Uploads
from clawdforge.server.sessions import answers, state, verdicts
from clawdforge.server.sessions.admission import Admission
from clawdforge.server.sessions.asked import Ask, Asked
from clawdforge.server.sessions.laying import Laying
from clawdforge.server.sessions.live import LiveSessions
from clawdforge.server.sessions.opening import Opening
from clawdforge.server.sessions.prompts import Files
from clawdforge.server.sessions.session import LiveSession
from clawdforge.server.sessions.tasks import Tasks
from clawdforge.server.sessions.turn import Deadlines, Turn
from clawdforge.server.sessions.turns import Turns
from clawdforge.server.settings import Settings
from clawdforge.server.store.base import Store
from clawdforge.server.store.stored import KeyRow, SessionRow, TurnRow, UploadRow
from clawdforge.server.store.writes import AddSession, Change
from clawdforge.wire.agents import AgentOptions
from clawdforge.wire.problems import Problem
from clawdforge.wire.runs import RunRequest, RunResult
from clawdforge.wire.turns import TurnCancelled, TurnRequest, TurnResult

T = TypeVar("T")
Note = Callable[[int], Change]
"""What is stored with a turn, told its number."""


class Prompting:
    """Lets in the prompts of one gateway."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        host: AgentHost,
        uploads: Uploads,
        live: LiveSessions,
        admission: Admission,
        keys: Keys,
        opening: Opening,
        tasks: Tasks,
    ) -> None:
        self._settings = settings
        self._store = store
        self._host = host
        self._uploads = uploads
        self._live = live
        self._admission = admission
        self._keys = keys
        self._opening = opening
        self._turns = Turns(store)
        self._tasks = tasks

    async def turn(
        self, app: App, row: SessionRow, request: TurnRequest, once: Once | None, *, patient: bool
    ) -> Asked[TurnResult]:
        """Lets a prompt into a session (see `registry.Sessions.turn`)."""
        if once is None:
            return await self._asked(app, row, request, None, patient=patient)
        return await self._tasks.shielded(self._asked_once(app, row, request, once, patient=patient))

    async def run(self, app: App, request: RunRequest, once: Once | None, *, patient: bool) -> Asked[RunResult]:
        """Lets in a prompt for an agent of its own (see `registry.Sessions.run`)."""
        if once is None:
            return await self._run_asked(app, request, None, patient=patient)
        return await self._tasks.shielded(self._run_once(app, request, once, patient=patient))

    async def cancel(
        self, app: App, row: SessionRow, turn_index: int | None, once: Once | None
    ) -> tuple[TurnCancelled, bool]:
        """Ends a prompt early (see `registry.Sessions.cancel`)."""
        cancel = partial(self._cancel, row, turn_index)
        return await self._tasks.shielded(self._keys.do(app.app_id, once, TurnCancelled, cancel))

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
        ask = None if live is None else live.prompts.of(known.turn_index)
        if ask is not None:
            return ask.again()
        asked = await self._turns.asked(known.session_id, known.turn_index, answer)
        if asked is None:  # its end was lost
            await self._live.end_lost_turns()
            asked = await self._turns.asked(known.session_id, known.turn_index, answer)
        if asked is None:
            raise Problem("overloaded", "the end of this turn is being stored: ask again", retry_after_s=1)
        return asked

    async def _asked(
        self, app: App, row: SessionRow, request: TurnRequest, once: Once | None, *, patient: bool
    ) -> Asked[TurnResult]:
        if row.closed_at is not None:
            raise answers.closed()
        await verdicts.check_schema(request.schema)
        uploads = await self._uploads.resolve(app.app_id, request.files or ())
        live = await self._live.take_up(row)
        try:
            self._admit_turn(live, queue=request.delivery == "queue")
        except Problem:
            self._live.let_go(live)
            raise
        deadlines = self._deadlines(request, live.options, patient=patient)
        schema = live.options.schema if request.schema is None else request.schema
        ask: Ask[TurnResult] = Ask(row.session_id, Turn(Prompt(request.prompt, (), schema), deadlines))
        live.prompts.let_in(ask)
        self._admission.running_turns += 1
        task = self._tasks.start(ask.told(self._turn(live, ask, uploads, self._note_of(app, live.row, once))))
        task.add_done_callback(lambda _: self._live.let_go(live))
        return ask

    async def _turn(
        self, live: LiveSession, ask: Ask[TurnResult], uploads: Sequence[UploadRow], note: Note | None
    ) -> TurnResult:
        try:
            row, folded = await live.prompts.run(ask, files=self._files(live.row, uploads, ask), note=note)
            return answers.turn_answer(row, folded)
        finally:
            self._admission.running_turns -= 1
            self._admission.used(live.row.session_id)

    async def _run_asked(
        self, app: App, request: RunRequest, once: Once | None, *, patient: bool
    ) -> Asked[RunResult]:
        self._admission.admit_turn()
        self._host.check(request)
        await verdicts.check_schema(request.schema)
        uploads = await self._uploads.resolve(app.app_id, request.files or ())
        self._admission.admit_turn()
        row = self._opening.new_row(app, request, "run", {})
        deadlines = self._deadlines(request, request, patient=patient)
        ask: Ask[RunResult] = Ask(row.session_id, Turn(Prompt(request.prompt, (), request.schema), deadlines))
        self._admission.running_turns += 1
        self._tasks.start(ask.told(self._run(ask, row, uploads, self._note_of(app, row, once))))
        return ask

    async def _run(
        self, ask: Ask[RunResult], row: SessionRow, uploads: Sequence[UploadRow], note: Note | None
    ) -> RunResult:
        self._admission.opened(row)
        live: LiveSession | None = None
        try:
            live = await self._opening.made(row)
            live.prompts.let_in(ask)
            done, folded = await live.prompts.run(
                ask, files=self._files(row, uploads, ask), first=AddSession(row), note=note
            )
        finally:
            self._admission.running_turns -= 1
            self._admission.closed(row.session_id)
            if live is None or live.row.turn_count == 0:
                await self._opening.unmake(row)  # it never was
            else:
                # The answer does not wait for the agent to leave.
                self._tasks.start(live.end_agent(now=False))
        return answers.run_answer(done, folded, row.agent)

    async def _cancel(self, row: SessionRow, turn_index: int | None, note: KeyNote | None) -> TurnCancelled:
        if turn_index is not None and turn_index > row.turn_count:
            raise Problem("not_found", "turn not found")
        live = self._live.get(row.session_id)
        asks: list[Ask[Any]] = [] if live is None else live.prompts.asks
        ask = next((each for each in asks if turn_index in (None, each.turn.index)), None)
        told = TurnCancelled(True, False, turn_index)
        if ask is not None:
            cancelled = ask.turn.stop(state.cancelled())
            await asyncio.wait({ask.answer})
            told = TurnCancelled(True, cancelled, ask.turn.index or None)
        if note is not None:
            await self._store.write(note(told))
        return told

    def _admit_turn(self, live: LiveSession, *, queue: bool) -> None:
        if live.closing is not None or live.row.closed_at is not None:
            raise answers.closed()
        if live.forks:
            raise answers.being_forked(live.row.session_id)
        if live.busy and not queue:
            raise answers.turn_in_progress(live.row.session_id)
        if len(live.prompts.asks) > self._settings.max_queued_turns:
            raise answers.too_many_queued(self._settings.max_queued_turns)
        self._admission.admit_turn()

    def _note_of(self, app: App, row: SessionRow, once: Once | None) -> Note | None:
        """What is stored of a turn's key, with the turn."""
        if once is None:
            return None
        return lambda index: self._keys.note(app.app_id, once, session_id=row.session_id, turn_index=index)

    def _files(self, row: SessionRow, uploads: Sequence[UploadRow], ask: Ask[Any]) -> Files | None:
        return partial(self._laid, row, uploads, ask.turn.prompt.text) if uploads else None

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
            permission_s=asked.permission_timeout_secs,
        )
