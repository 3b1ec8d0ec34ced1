"""`/run`: one prompt to an agent of its own, and `/runs`: the records of those."""

from __future__ import annotations

from starlette.requests import Request

from clawdforge.server.http import answers, body, context, query
from clawdforge.server.http.problems import Answer
from clawdforge.wire.runs import RunPage, RunRequest


async def run(request: Request) -> Answer:
    """Runs one prompt and answers with its result. A client that hangs up does not stop it."""
    room = context.of(request)
    app = room.caller(request)
    asked = await body.read_json(request, RunRequest, room.settings)
    result = await room.sessions.run(app, asked)
    return answers.of(result)


async def list_runs(request: Request) -> Answer:
    """The app's own runs, newest first; without `limit` as many as a page may have."""
    room = context.of(request)
    app = room.caller(request)
    asked = query.read(request, {"limit", "cursor"})
    limit = query.integer(asked, "limit", query.LIMITS) or query.LIMITS[-1]
    rows = await room.runs.list(app, limit=limit + 1, before=query.before(asked))
    items, cursor = query.page(rows, limit, lambda row: (row.created_at, row.run_id))
    return answers.of(RunPage(ok=True, runs=items, count=len(items), next_cursor=cursor))


async def get_run(request: Request) -> Answer:
    """One run of the app, with its result."""
    room = context.of(request)
    app = room.caller(request)
    query.read(request, set())
    info = await room.runs.get(app, request.path_params["run_id"])
    return answers.of(info)
