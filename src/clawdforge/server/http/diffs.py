"""`/sessions/{id}/diff`: what a turn changed in the workspace."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from starlette.requests import Request

from clawdforge.server.http import context, query
from clawdforge.server.http.problems import Answer
from clawdforge.wire import codec
from clawdforge.wire.diffs import TurnDiff

TURNS: Final = range(1, 10**9)


async def get_diff(request: Request) -> Answer:
    """The files that a turn changed, each with a patch; without `turn` the last turn's, so far where it runs."""
    room = context.of(request)
    app = room.caller(request)
    asked = query.read(request, {"turn"})
    turn_index = query.integer(asked, "turn", TURNS)
    find = await room.sessions.diff(app, request.path_params["session_id"], turn_index)
    return Answer(await room.trees.run(app.app_id, partial(_encoded, find)))


def _encoded(find: Callable[[], TurnDiff]) -> bytes:
    """The answer. Each file by itself: to encode megabytes in one go would hold up the loop."""
    answer = codec.to_json(find())
    files = ",".join([codec.text(codec.to_json(each)) for each in answer.pop("files")])
    return f'{codec.text(answer)[:-1]},"files":[{files}]}}'.encode()
