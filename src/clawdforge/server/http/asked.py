"""A prompt's answer in the form that its caller wants: at its end, as its events come, or not waited for.

Must not know what a prompt does.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

from starlette.requests import Request
from starlette.types import ASGIApp

from clawdforge.server.apps.registry import App
from clawdforge.server.http import answers, idempotency
from clawdforge.server.http.context import Context
from clawdforge.server.http.problems import Answer, answer_to, request_id
from clawdforge.server.sessions.asked import Accepted, Asked
from clawdforge.wire import codec, sse
from clawdforge.wire.problems import Problem

_PREFER: Final = b"prefer"
_ASYNC: Final = b"respond-async"


def wants_stream(request: Request) -> bool:
    """Whether the caller names server-sent events as what it accepts."""
    named = (kind.partition(";")[0].strip() for kind in request.headers.get("accept", "").lower().split(","))
    return sse.MEDIA_TYPE in named


def is_patient(request: Request, room: Context, app: App) -> bool:
    """Whether the caller does not hold a silent connection until the end, so that the turn may take its time.

    Raises:
        Problem: it wants a stream, and there are too many: no prompt is to be let in for that.
    """
    if wants_stream(request):
        room.streams.admit(app)
        return True
    return _wants_async(request)


async def answer(
    request: Request, room: Context, app: App, asked: Asked[Any], accepted_as: Callable[[Accepted], Any]
) -> ASGIApp:
    """The answer to a prompt.

    Args:
        request: says which form is wanted.
        room: the gateway's rooms.
        app: who asks.
        asked: what was asked.
        accepted_as: the body of a 202.

    Raises:
        Problem: the prompt was refused, or its turn ended in an error and the caller waits for its end.
    """
    headers = idempotency.replayed(asked.replayed)
    if wants_stream(request):
        accepted = await asked.accepted
        return room.streams.turn(app, asked.session_id, accepted, headers)
    if _wants_async(request):
        accepted = await asked.accepted
        where = f"/sessions/{asked.session_id}/turns/{accepted.turn_index}".encode()
        body = codec.dumps(codec.to_json(accepted_as(accepted)))
        applied = ((b"preference-applied", _ASYNC), (b"location", where))
        return Answer(body, HTTPStatus.ACCEPTED, (*headers, *applied))
    try:
        return await answers.of_prompt(await asked.answer, headers)
    except Problem as problem:
        if not asked.replayed:
            raise
        told = answer_to(problem, request_id(request))
        told.headers.extend(headers)
        return told


def _wants_async(request: Request) -> bool:
    """Source: RFC 7240. Other preferences are passed over."""
    values = b",".join(value for name, value in request.scope["headers"] if name == _PREFER)
    return any(each.partition(b";")[0].strip().lower() == _ASYNC for each in values.split(b","))
