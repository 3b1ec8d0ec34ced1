"""`/sessions/{id}/turn`, `/turns`, `/cancel`: prompts to a session's agent, what came of them, their early end."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp

from clawdforge.server.http import answers, asked, body, context, idempotency, query
from clawdforge.server.http.problems import Answer
from clawdforge.server.sessions.asked import Accepted, Asked
from clawdforge.wire.problems import Problem
from clawdforge.wire.turns import CancelRequest, TurnAccepted, TurnPage, TurnRequest, TurnResult

_TURNS: Final = range(1, 10**9)


async def turn(request: Request) -> ASGIApp:
    """Runs one turn and answers with its folded events.

    With `Accept: text/event-stream` the answer is the turn's events as they come; with `Prefer: respond-async` it
    comes once the turn is stored. A client that hangs up does not stop it.
    """
    room = context.of(request)
    app = room.caller(request)
    wanted = await body.read_json(request, TurnRequest, room.settings)
    session_id = request.path_params["session_id"]
    once = await idempotency.once(request, wanted)

    def let_in(patient: bool) -> Awaitable[Asked[TurnResult]]:
        return room.sessions.turn(app, session_id, wanted, once=once, patient=patient)

    def accepted_as(prompt: Asked[TurnResult], accepted: Accepted) -> asked.Found:
        where = f"/sessions/{prompt.session_id}/turns/{accepted.turn_index}".encode()
        return where, TurnAccepted(True, prompt.session_id, accepted.turn_index, accepted.status)

    return await asked.answer(request, room, app, let_in, accepted_as)


async def list_turns(request: Request) -> Answer:
    """The turns of a session or run, newest first; without `limit` as many as a page may have."""
    room = context.of(request)
    app = room.caller(request)
    given = query.read(request, {"limit", "cursor"})
    limit = query.integer(given, "limit", query.LIMITS) or query.LIMITS[-1]
    before = query.integer(given, "cursor", _TURNS)
    session = await room.sessions.find(app, request.path_params["session_id"])
    rows = await room.turns.page(session, limit=limit + 1, before=before)
    cursor = str(rows[limit - 1].turn_index) if len(rows) > limit else None
    return answers.of(TurnPage(True, rows[:limit], len(rows[:limit]), cursor))


async def get_turn(request: Request) -> Answer:
    """One turn, with its events so far, folded."""
    room = context.of(request)
    app = room.caller(request)
    query.read(request, set())
    session = await room.sessions.find(app, request.path_params["session_id"])
    try:
        turn_index = query.digits(request.path_params["turn_index"])
    except ValueError:
        raise Problem("not_found", "turn not found") from None
    return answers.of(await room.turns.get(session, turn_index))


async def cancel(request: Request) -> Answer:
    """Ends a turn early; it has ended when the answer comes. Without a turn to be ended it does nothing."""
    room = context.of(request)
    app = room.caller(request)
    wanted = await body.read_json(request, CancelRequest, room.settings, optional=True)
    session_id = request.path_params["session_id"]
    once = await idempotency.once(request, wanted)
    told, was = await room.sessions.cancel(app, session_id, wanted.turn_index, once)
    return answers.of(told, idempotency.replayed(was))
