"""`/run`: one prompt to an agent of its own."""

from __future__ import annotations

from starlette.requests import Request

from clawdforge.server.http import answers, body, context
from clawdforge.server.http.problems import Answer
from clawdforge.wire.runs import RunRequest


async def run(request: Request) -> Answer:
    """Runs one prompt and answers with its result. A client that hangs up does not stop it."""
    room = context.of(request)
    app = room.caller(request)
    asked = await body.read_json(request, RunRequest, room.settings)
    result = await room.sessions.run(app, asked)
    return answers.of(result)
