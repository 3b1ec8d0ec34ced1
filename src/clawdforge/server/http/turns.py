"""`/sessions/{id}/turn`: a prompt to a session's agent."""

from __future__ import annotations

from starlette.requests import Request

from clawdforge.server.http import answers, body, context
from clawdforge.server.http.problems import Answer
from clawdforge.wire.turns import TurnRequest


async def turn(request: Request) -> Answer:
    """Runs one turn and answers with its folded events. A client that hangs up does not stop it."""
    room = context.of(request)
    app = room.caller(request)
    asked = await body.read_json(request, TurnRequest, room.settings)
    result = await room.sessions.turn(app, request.path_params["session_id"], asked)
    return answers.of(result)
