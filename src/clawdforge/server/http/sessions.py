"""`/sessions`: open, fork, list, look at, close."""

from __future__ import annotations

from starlette.requests import Request

from clawdforge.server.http import answers, body, context, idempotency, query
from clawdforge.server.http.problems import Answer
from clawdforge.wire.sessions import SessionClosed, SessionCreate, SessionFork, SessionPage


async def create_session(request: Request) -> Answer:
    """Opens a session; its agent has started when the answer comes."""
    room = context.of(request)
    app = room.caller(request)
    asked = await body.read_json(request, SessionCreate, room.settings, optional=True)
    created, was = await room.sessions.create(app, asked, await idempotency.once(request, asked))
    return answers.of(created, idempotency.replayed(was))


async def fork_session(request: Request) -> Answer:
    """Makes a new session of one, with its history and a copy of its workspace."""
    room = context.of(request)
    app = room.caller(request)
    asked = await body.read_json(request, SessionFork, room.settings, optional=True)
    once = await idempotency.once(request, asked)
    forked, was = await room.sessions.fork(app, request.path_params["session_id"], asked, once)
    return answers.of(forked, idempotency.replayed(was))


async def list_sessions(request: Request) -> Answer:
    """The app's own sessions, newest first; without `limit` all of them."""
    room = context.of(request)
    app = room.caller(request)
    asked = query.read(request, {"include_closed", "limit", "cursor"})
    limit = query.integer(asked, "limit", query.LIMITS)
    rows = await room.sessions.list_sessions(
        app,
        include_closed=query.boolean(asked, "include_closed", default=True),
        limit=None if limit is None else limit + 1,
        before=query.before(asked),
    )
    items, cursor = query.page(rows, limit, lambda row: (row.created_at, row.session_id))
    return answers.of(SessionPage(ok=True, sessions=items, count=len(items), next_cursor=cursor))


async def get_session(request: Request) -> Answer:
    """One session of the app."""
    room = context.of(request)
    app = room.caller(request)
    query.read(request, set())
    info = await room.sessions.get(app, request.path_params["session_id"])
    return answers.of(info)


async def close_session(request: Request) -> Answer:
    """Closes a session; the same answer on every repeat."""
    room = context.of(request)
    app = room.caller(request)
    query.read(request, set())
    session_id = request.path_params["session_id"]
    await room.sessions.close(app, session_id)
    return answers.of(SessionClosed(ok=True, session_id=session_id))
