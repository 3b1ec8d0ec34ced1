"""`/usage`: what the app's turns took."""

from __future__ import annotations

from typing import Final, get_args

from starlette.requests import Request

from clawdforge.server.http import answers, context, query
from clawdforge.server.http.problems import Answer
from clawdforge.wire.usage import By

TIMES: Final = range(253_402_300_800)
"""Epoch seconds, to the end of the year 9999."""

GROUPINGS: Final[tuple[By, ...]] = get_args(By)


async def usage(request: Request) -> Answer:
    """Turns, their time, tokens and cost; all together, and by agent, model or day (UTC).

    Of turns that began from `since` on and before `until`. Estimates are told apart.
    """
    room = context.of(request)
    app = room.caller(request)
    asked = query.read(request, {"since", "until", "by"})
    report = await room.usage.report(
        app.app_id,
        since=query.integer(asked, "since", TIMES),
        until=query.integer(asked, "until", TIMES),
        by=query.word(asked, "by", GROUPINGS),
    )
    return answers.of(report)
