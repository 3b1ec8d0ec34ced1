"""`/run`: one prompt to an agent of its own, and `/runs`: the records of those."""

from __future__ import annotations

from collections.abc import Awaitable

from starlette.requests import Request
from starlette.types import ASGIApp

from clawdforge.server.http import answers, asked, body, context, idempotency, query
from clawdforge.server.http.problems import Answer
from clawdforge.server.sessions.asked import Accepted, Asked
from clawdforge.wire.runs import RunAccepted, RunPage, RunRequest, RunResult


async def run(request: Request) -> ASGIApp:
    """Runs one prompt and answers with its result.

    With `Accept: text/event-stream` the answer is the run's events as they come; with `Prefer: respond-async` it
    comes once the run is stored. A client that hangs up does not stop it.
    """
    room = context.of(request)
    app = room.caller(request)
    wanted = await body.read_json(request, RunRequest, room.settings)
    once = await idempotency.once(request, wanted)

    def let_in(patient: bool) -> Awaitable[Asked[RunResult]]:
        return room.sessions.run(app, wanted, once=once, patient=patient)

    def accepted_as(prompt: Asked[RunResult], accepted: Accepted) -> asked.Found:
        run_id = prompt.session_id
        return f"/runs/{run_id}".encode(), RunAccepted(True, run_id, run_id, accepted.turn_index, accepted.status)

    return await asked.answer(request, room, app, let_in, accepted_as)


async def list_runs(request: Request) -> Answer:
    """The app's own runs, newest first; without `limit` as many as a page may have."""
    room = context.of(request)
    app = room.caller(request)
    given = query.read(request, {"limit", "cursor"})
    limit = query.integer(given, "limit", query.LIMITS) or query.LIMITS[-1]
    rows = await room.runs.list(app, limit=limit + 1, before=query.before(given))
    items, cursor = query.page(rows, limit, lambda row: (row.created_at, row.run_id))
    return answers.of(RunPage(ok=True, runs=items, count=len(items), next_cursor=cursor))


async def get_run(request: Request) -> Answer:
    """One run of the app, with its result."""
    room = context.of(request)
    app = room.caller(request)
    query.read(request, set())
    info = await room.runs.get(app, request.path_params["run_id"])
    return answers.of(info)
