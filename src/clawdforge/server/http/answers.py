"""Wire values as encoded answers: the one way in which a route's value becomes a body."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from pydantic_core import to_json

from clawdforge.server.http.problems import Answer, Headers, answer_to
from clawdforge.wire import codec
from clawdforge.wire.problems import Problem
from clawdforge.wire.runs import RunResult
from clawdforge.wire.turns import TurnResult

_OFF_LOOP_CHARS: Final = 256 * 1024
_SLICE_CHARS: Final = 64 * 1024


def of(value: Any, headers: Headers = ()) -> Answer:
    """The 200 whose body is this wire value, the wire values in its lists included."""
    return Answer(codec.whole(value).encode(), headers=headers)


async def of_prompt(value: TurnResult | RunResult, headers: Headers = ()) -> Answer:
    """The same of a prompt's answer, which may be megabytes: others get the loop while these are encoded."""
    if _is_large(value.events if isinstance(value, TurnResult) else ()):
        return Answer(await asyncio.to_thread(_large, codec.to_json(value)), headers=headers)
    return of(value, headers)


async def of_failed_prompt(problem: Problem, request_id: str, headers: Headers = ()) -> Answer:
    """The error that a prompt is answered with, which tells what was seen of it: that may be as much."""
    if _is_large(problem.extra.get("events", ())):
        answer = await asyncio.to_thread(answer_to, problem, request_id, encode=_large)
    else:
        answer = answer_to(problem, request_id)
    answer.headers.extend(headers)
    return answer


def _is_large(events: Iterable[Mapping[str, Any]]) -> bool:
    return sum(len(event.get("content", "")) for event in events) >= _OFF_LOOP_CHARS


def _large(answer: dict[str, Any]) -> bytearray:
    """Encoded in slices: between two of them the interpreter's lock can go to the loop."""
    events = answer.pop("events")
    body = bytearray(codec.dumps(answer)[:-1] + b',"events":[')
    for place, event in enumerate(events):
        if place:
            body += b","
        for piece in _pieces(event):
            body += piece
    body += b"]}"
    return body


def _pieces(event: dict[str, Any]) -> Iterator[bytes]:
    content = event.get("content", "")
    if len(content) <= _SLICE_CHARS:
        yield codec.dumps(event)
        return
    rest = codec.dumps({name: value for name, value in event.items() if name != "content"})
    yield rest[:-1] + b',"content":"'
    for at in range(0, len(content), _SLICE_CHARS):
        yield to_json(content[at : at + _SLICE_CHARS])[1:-1]
    yield b'"}'
