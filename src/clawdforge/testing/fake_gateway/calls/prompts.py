"""`/run`, `/sessions/{id}/turn`, `…/cancel`, `…/turns`, `/runs`: prompts in three forms, and their records."""

from __future__ import annotations

import time
from typing import Any, Final

from clawdforge.testing.fake_gateway import bodies, records, streams, turns
from clawdforge.testing.fake_gateway import connection as http
from clawdforge.testing.fake_gateway.calls.call import LIMITS, Call, closed, given, replayed
from clawdforge.testing.fake_gateway.connection import Answer, Stream
from clawdforge.testing.fake_gateway.prompt import Prompt, SentFile
from clawdforge.testing.fake_gateway.session import Session, Turn, options_of
from clawdforge.testing.fake_gateway.state import new_id
from clawdforge.wire import events
from clawdforge.wire.agents import AgentOptions
from clawdforge.wire.events import Draft
from clawdforge.wire.problems import Problem
from clawdforge.wire.runs import RunAccepted, RunPage, RunRequest
from clawdforge.wire.turns import (
    CancelRequest,
    TurnAccepted,
    TurnCancelled,
    TurnPage,
    TurnRequest,
)

_TOTAL_S: Final = 120
_IDLE_S: Final = 300
_PERMISSION_S: Final = 120
_QUEUE_LIMIT: Final = 20


def turn(call: Call) -> Answer | Stream:
    """A prompt to a session's agent."""
    wanted = bodies.read(call.request, TurnRequest)
    state = call.state
    with state.lock:
        session = state.session(call.app, call.name("session_id"))
        claim = state.claim(call.app, call.request, given(wanted))
        if claim.done is not None and claim.done.turn is not None:
            return _answered(call, *claim.done.turn, replay=True)
        if session.closed_at is not None:
            raise closed()
        waiting = sum(not each.ended for each in session.turns)
        if waiting and wanted.delivery != "queue":
            raise in_progress(session)
        if waiting > _QUEUE_LIMIT:
            detail = f"as many prompts wait in this session as may: {_QUEUE_LIMIT}"
            raise Problem("too_many_turns", detail, retry_after_s=5)
        asked = _let_in(call, session, wanted, session.options)
        state.keep(claim, turn=(session, asked))
    return _answered(call, session, asked)


def run(call: Call) -> Answer | Stream:
    """A prompt to an agent of its own."""
    wanted = bodies.read(call.request, RunRequest)
    state = call.state
    with state.lock:
        claim = state.claim(call.app, call.request, given(wanted))
        if claim.done is not None and claim.done.turn is not None:
            return _answered(call, *claim.done.turn, replay=True)
        state.check_agent(wanted.agent)
        session = Session(new_id("run"), call.app.name, True, options_of(wanted), {}, state.lock)
        asked = _let_in(call, session, wanted, wanted)
        state.sessions[session.session_id] = session
        state.keep(claim, turn=(session, asked))
    return _answered(call, session, asked)


def _let_in(call: Call, session: Session, wanted: TurnRequest | RunRequest, options: AgentOptions) -> Turn:
    """The prompt becomes a turn, which a thread plays. The lock is held. Raises Problem `not_found`."""
    state = call.state
    uploads = [state.upload(call.app, token).file for token in wanted.files or ()]  # all or none
    files = tuple(_laid(session, each) for each in uploads)
    prompt = Prompt(
        text=wanted.prompt,
        session_id=session.session_id,
        turn_index=len(session.turns) + 1,
        agent=session.options.agent,
        is_run=session.is_run,
        files=files,
        schema=options.schema if wanted.schema is None else wanted.schema,
        options=session.chosen(),
        meta=session.meta,
        workspace=session.workspace,
    )
    total_s = wanted.timeout_secs or options.timeout_secs
    asked = Turn(
        prompt=prompt,
        answerer=state.script.take(),
        total_s=total_s or (None if call.incoming.wants_stream or _wants_async(call) else _TOTAL_S),
        idle_s=wanted.idle_timeout_secs or options.idle_timeout_secs or _IDLE_S,
        permission_s=wanted.permission_timeout_secs or options.permission_timeout_secs or _PERMISSION_S,
        started_at=int(time.time()),
        first_seq=len(session.events) + 1,
    )
    waits = any(not each.ended for each in session.turns)
    session.turns.append(asked)
    if waits:
        session.append(Draft(events.TURN_QUEUED, {"prompt": prompt.text}), asked.index)
    else:
        turns.begin(session, asked)
    state.prompts.append(prompt)
    state.prompted.notify_all()
    state.start(lambda: turns.play(session, asked))
    return asked


def _laid(session: Session, file: SentFile) -> SentFile:
    """Lays an upload into the workspace, under a name that is free; it has that name from now on."""
    stem, dot, suffix = file.name.rpartition(".")
    stem, suffix = (stem, dot + suffix) if stem else (file.name, "")
    name, count = file.name, 1
    while name in session.workspace:
        count += 1
        name = f"{stem} ({count}){suffix}"
    session.workspace[name] = file.content
    return SentFile(name, file.content)


def _answered(call: Call, session: Session, asked: Turn, *, replay: bool = False) -> Answer | Stream:
    """The prompt's answer in the form that its caller wants."""
    headers = replayed(replay)
    where = f"/runs/{session.session_id}" if session.is_run else _record(session, asked)
    if call.incoming.wants_stream:
        return Stream(streams.of_turn(call.state, call.app, session, asked), {**headers, "Location": where})
    if _wants_async(call):
        return _accepted(session, asked, {**headers, "Location": where})
    with call.state.lock:
        session.wait(lambda: asked.ended)
        try:
            if session.is_run:
                return http.of(records.run_answer(session, asked), headers=headers)
            return http.of(records.turn_answer(session, asked), headers=headers)
        except Problem as problem:
            return http.problem(problem, call.request_id, headers)


def _accepted(session: Session, asked: Turn, headers: dict[str, str]) -> Answer:
    named = session.session_id
    told: Any = TurnAccepted(True, named, asked.index, asked.status)
    if session.is_run:
        told = RunAccepted(True, named, named, asked.index, asked.status)
    return http.of(told, 202, {**headers, "Preference-Applied": "respond-async"})


def _record(session: Session, asked: Turn) -> str:
    return f"/sessions/{session.session_id}/turns/{asked.index}"


def _wants_async(call: Call) -> bool:
    wishes = call.incoming.header("prefer").lower().split(",")
    return any(each.partition(";")[0].strip() == "respond-async" for each in wishes)


def cancel(call: Call) -> Answer:
    """Ends a turn early; it has ended when the answer comes."""
    wanted = bodies.read(call.request, CancelRequest, optional=True)
    session = call.state.find(call.app, call.name("session_id"))

    def work() -> TurnCancelled:
        if wanted.turn_index is not None and wanted.turn_index > len(session.turns):
            raise Problem("not_found", "turn not found")
        open_turns = (each for each in session.turns if not each.ended)
        found = next((each for each in open_turns if wanted.turn_index in (None, each.index)), None)
        if found is None:
            return TurnCancelled(True, False, wanted.turn_index)
        first = found.stopped is None
        session.stop(turns.CANCELLED, found)
        session.wait(lambda: found.ended)
        return TurnCancelled(True, first and found.end is turns.CANCELLED, found.index)

    return call.once(given(wanted), work)


def list_turns(call: Call) -> Answer:
    """The turns of a session or run, newest first."""
    query = call.query("limit", "cursor")
    session = call.state.find(call.app, call.name("session_id"))
    page, cursor = query.page(session.turns[::-1], lambda row: str(row.index), default=LIMITS[-1])
    rows = [records.turn_item(each) for each in page]
    return http.of(TurnPage(True, rows, len(rows), cursor))


def get_turn(call: Call) -> Answer:
    """One turn, with its events so far."""
    call.query()
    session = call.state.find(call.app, call.name("session_id"))
    for each in session.turns:
        if str(each.index) == call.name("turn_index"):
            return http.of(records.turn_info(session, each))
    raise Problem("not_found", "turn not found")


def list_runs(call: Call) -> Answer:
    """The app's runs, newest first."""
    query = call.query("limit", "cursor")
    mine = call.state.mine(call.app, runs=True)
    page, cursor = query.page(mine, lambda row: row.session_id, default=LIMITS[-1])
    rows = [records.run_item(each) for each in page]
    return http.of(RunPage(True, rows, len(rows), cursor))


def get_run(call: Call) -> Answer:
    """One run, with its result."""
    call.query()
    session = call.state.sessions.get(call.name("run_id"))
    if session is None or not session.is_run or session.app_name != call.app.name:
        raise Problem("not_found", "run not found")
    return http.of(records.run_info(session))


def in_progress(session: Session) -> Problem:
    """A session has a turn already."""
    detail = 'a turn is running in this session: wait for its end, cancel it, or send with delivery "queue"'
    return Problem("turn_in_progress", detail, session_id=session.session_id)
