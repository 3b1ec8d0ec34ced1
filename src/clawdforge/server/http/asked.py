"""A prompt's answer in the form that its caller wants: at its end, as its events come, or not waited for.

Must not know what a prompt does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final, TypeVar

from starlette.requests import Request
from starlette.types import ASGIApp

from clawdforge.server.apps.registry import App
from clawdforge.server.http import answers, idempotency
from clawdforge.server.http.context import Context
from clawdforge.server.http.problems import Answer, request_id
from clawdforge.server.sessions.asked import Accepted, Asked
from clawdforge.wire import codec, sse
from clawdforge.wire.problems import Problem
from clawdforge.wire.runs import RunResult
from clawdforge.wire.turns import TurnResult

T = TypeVar("T", bound=TurnResult | RunResult)
LetIn = Callable[[bool], Awaitable[Asked[T]]]
Found = tuple[bytes, Any]

_STREAM: Final = sse.MEDIA_TYPE.encode()
_ASYNC: Final = b"respond-async"


def wants_stream(request: Request) -> bool:
    """Whether the caller names server-sent events as what it accepts."""
    return _STREAM in _named(request, b"accept")


async def answer(
    request: Request, room: Context, app: App, let_in: LetIn[T], accepted_as: Callable[[Asked[T], Accepted], Found]
) -> ASGIApp:
    """Lets a prompt in, and answers it.

    Args:
        request: says which form is wanted.
        room: the gateway's rooms.
        app: who asks.
        let_in: lets it in, told whether it may take its time: nobody holds a silent connection until its end.
        accepted_as: where the prompt is found later, which a stream tells too, and the body of a 202.

    Raises:
        Problem: the prompt was refused.
    """
    if wants_stream(request):
        return await _streamed(room, app, let_in, accepted_as)
    patient = _wants_async(request)
    asked = await let_in(patient)
    headers = idempotency.replayed(asked.replayed)
    try:
        if patient:
            where, told = accepted_as(asked, await asked.accepted)
            applied = ((b"preference-applied", _ASYNC), (b"location", where))
            return Answer(codec.dumps(codec.to_json(told)), HTTPStatus.ACCEPTED, (*headers, *applied))
        return await answers.of_prompt(await asked.answer, headers)
    except Problem as problem:
        # Without its traceback, which holds this frame, which holds the error.
        return await answers.of_failed_prompt(problem.with_traceback(None), request_id(request), headers)


async def _streamed(
    room: Context, app: App, let_in: LetIn[T], accepted_as: Callable[[Asked[T], Accepted], Found]
) -> ASGIApp:
    """Its place among the streams is taken before the prompt is let in: no turn runs for an answer of 429."""
    call = room.streams.open(app)
    try:
        asked = await let_in(True)
        accepted = await asked.accepted
    except BaseException:
        room.streams.close(call)
        raise
    where, _ = accepted_as(asked, accepted)
    headers = (*idempotency.replayed(asked.replayed), (b"location", where))
    return room.streams.turn(call, asked.session_id, accepted, headers)


def _wants_async(request: Request) -> bool:
    """Source: RFC 7240. Other preferences are passed over."""
    return _ASYNC in _named(request, b"prefer")


def _named(request: Request, header: bytes) -> list[bytes]:
    """The words of a header that lists some, without their parameters, in lower case."""
    values = b",".join([value for name, value in request.scope["headers"] if name == header])
    return [each.partition(b";")[0].strip() for each in values.lower().split(b",")]
