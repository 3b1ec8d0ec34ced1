"""`/sessions/{id}/events`: a session's log, as a page, a page that is waited for, or a stream."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp

from clawdforge.server.http import asked, context, query
from clawdforge.server.http.problems import Answer
from clawdforge.wire.problems import invalid

PLACES: Final = range(10**18)
LIMITS: Final = range(1, 201)
WAITS_S: Final = range(61)
_LAST_EVENT_ID: Final = b"last-event-id"


async def events(request: Request) -> ASGIApp:
    """The session's events after a `seq`, oldest first.

    As a page; with `wait`, one that is answered as soon as there is something. With `Accept: text/event-stream`, a
    stream that goes on until the session is closed; `Last-Event-ID` is where it goes on, before `after`.
    """
    room = context.of(request)
    app = room.caller(request)
    given = query.read(request, {"after", "limit", "wait"})
    after = query.integer(given, "after", PLACES) or 0
    limit = query.integer(given, "limit", LIMITS)
    wait_s = query.integer(given, "wait", WAITS_S)
    session = await room.sessions.find(app, request.path_params["session_id"])
    closed = session.closed_at is not None
    if asked.wants_stream(request):
        if limit is not None or wait_s is not None:
            raise invalid("limit and wait are for pages, not for a stream", "limit" if limit else "wait")
        seen = _last_event_id(request)
        after = after if seen is None else seen
        return room.streams.stream(app, session.session_id, after, closed=closed)
    limit = limit or LIMITS.stop - 1
    page = await room.streams.page(session.session_id, after, limit)
    if not page and wait_s and not closed:
        page = await room.streams.poll(app, request.receive, session.session_id, after, limit, wait_s)
    texts = ",".join(event.text() for event in page)
    next_after = page[-1].seq if page else after
    return Answer(f'{{"ok":true,"events":[{texts}],"next_after":{next_after}}}'.encode())


def _last_event_id(request: Request) -> int | None:
    """The `seq` that a stream ended with; None where the header is not there. Raises Problem `invalid`."""
    values = [value for name, value in request.scope["headers"] if name == _LAST_EVENT_ID]
    if not values:
        return None
    try:
        (value,) = values
        return query.digits(value.decode("ascii"))
    except ValueError:  # also for more than one
        raise invalid("Last-Event-ID is not an id that a stream has sent", "Last-Event-ID") from None
