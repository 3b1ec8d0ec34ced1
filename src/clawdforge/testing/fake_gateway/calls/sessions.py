"""`/sessions`: open, list, look at, close, fork; `…/events`, `…/permissions`, `…/diff`."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from clawdforge.testing.fake_gateway import bodies, deciding, records, streams, turns
from clawdforge.testing.fake_gateway import connection as http
from clawdforge.testing.fake_gateway.calls.call import Call, given
from clawdforge.testing.fake_gateway.calls.prompts import in_progress
from clawdforge.testing.fake_gateway.connection import Answer, Stream
from clawdforge.testing.fake_gateway.session import Asked, Session, options_of
from clawdforge.testing.fake_gateway.state import new_id
from clawdforge.wire.permissions import PermissionAnswered, PermissionOption, PermissionPage, PermissionReply
from clawdforge.wire.problems import Problem, invalid
from clawdforge.wire.sessions import (
    SessionClosed,
    SessionCreate,
    SessionCreated,
    SessionFork,
    SessionForked,
    SessionPage,
)

_PLACES: Final = range(10**18)
_WAITS_S: Final = range(61)


def create(call: Call) -> Answer:
    """Opens a session."""
    wanted = bodies.read(call.request, SessionCreate, optional=True)
    state = call.state

    def work() -> SessionCreated:
        state.check_agent(wanted.agent)
        options = options_of(wanted)
        session = Session(new_id("sess"), call.app.name, False, options, dict(wanted.meta or {}), state.lock)
        session.wake()
        state.sessions[session.session_id] = session
        return records.created(session)

    return call.once(given(wanted), work)


def list_sessions(call: Call) -> Answer:
    """The app's sessions, newest first; without `limit` all of them."""
    query = call.query("include_closed", "limit", "cursor")
    closed_too = query.boolean("include_closed", default=True)
    mine = [each for each in call.state.mine(call.app, runs=False) if closed_too or each.closed_at is None]
    page, cursor = query.page(mine, lambda row: row.session_id)
    rows = [records.session_item(each) for each in page]
    return http.of(SessionPage(True, rows, len(rows), cursor))


def get(call: Call) -> Answer:
    """One session."""
    call.query()
    return http.of(records.session_info(call.state.session(call.app, call.name("session_id"))))


def close(call: Call) -> Answer:
    """Closes a session; the same answer on every repeat."""
    call.query()
    session = call.state.session(call.app, call.name("session_id"))
    session.stop(turns.CANCELLED)
    session.wait(lambda: all(each.ended for each in session.turns))
    session.close("client")
    return http.of(SessionClosed(True, session.session_id))


def fork(call: Call) -> Answer:
    """Makes a new session of one, with its history and a copy of its workspace."""
    wanted = bodies.read(call.request, SessionFork, optional=True)
    state = call.state
    source = state.session(call.app, call.name("session_id"))

    def work() -> SessionForked:
        if any(not each.ended for each in source.turns):
            raise in_progress(source)
        made = Session(
            new_id("sess"),
            call.app.name,
            False,
            source.options,
            dict(source.meta if wanted.meta is None else wanted.meta),
            state.lock,
            forked_from=(source.session_id, len(source.turns)),
            events=[each for each in source.events if each.type != "session_closed"],
            turns=[dataclasses.replace(each, before=None, after=None) for each in source.turns],
            workspace=dict(source.workspace),
        )
        state.sessions[made.session_id] = made
        return records.forked(made)

    return call.once(given(wanted), work)


def events(call: Call) -> Answer | Stream:
    """The session's events: a page, one that is waited for, or a stream."""
    query = call.query("after", "limit", "wait")
    session = call.state.find(call.app, call.name("session_id"))
    after = query.integer("after", _PLACES) or 0
    limit, wait_s = query.integer("limit", range(1, 201)), query.integer("wait", _WAITS_S)
    if call.incoming.wants_stream:
        if limit is not None or wait_s is not None:
            raise invalid("limit and wait are for pages, not for a stream", "limit" if limit else "wait")
        return Stream(streams.of_session(call.state, call.app, session, _last_seen(call, after)))
    session.wait(
        lambda: len(session.events) > after or session.closed_at is not None or call.state.closing, wait_s or 0
    )
    page = session.events[after : after + (limit or 200)]
    texts = ",".join(each.encoded().text() for each in page)
    next_after = page[-1].seq if page else after
    return Answer(f'{{"ok":true,"events":[{texts}],"next_after":{next_after}}}'.encode())


def _last_seen(call: Call, after: int) -> int:
    named = call.incoming.header("last-event-id")
    if not named:
        return after
    if not (named.isascii() and named.isdigit() and len(named) < 19):
        raise invalid("Last-Event-ID is not an id that a stream has sent", "Last-Event-ID")
    return int(named)


def list_permissions(call: Call) -> Answer:
    """The requests that wait for an answer, oldest first."""
    call.query()
    session = call.state.find(call.app, call.name("session_id"))
    waiting = [each.item for each in session.asked.values() if each.waits]
    return http.of(PermissionPage(True, waiting, len(waiting)))


def answer_permission(call: Call) -> Answer:
    """Answers a request; the first answer counts."""
    reply = bodies.read(call.request, PermissionReply)
    session = call.state.find(call.app, call.name("session_id"))
    permission_id = call.name("permission_id")

    def work() -> PermissionAnswered:
        asked = session.asked.get(permission_id)
        if asked is None:
            raise Problem("not_found", "permission request not found")
        if (told := asked.answer) is not None:
            detail = f"this request was answered already: {told.decision!r}, by {told.by}"
            who: dict[str, Any] = {"decision": told.decision, "option_id": told.option_id, "by": told.by}
            raise Problem("permission_answered", detail, permission_id=permission_id, **who)
        return deciding.answer(session, asked, _chosen(asked, reply), f"app:{call.app.name}")

    return call.once(given(reply), work)


def _chosen(asked: Asked, reply: PermissionReply) -> PermissionOption:
    """The option that a reply names. Raises Problem `invalid`."""
    options = asked.item.options
    if (reply.decision is None) is (reply.option_id is None):
        raise invalid("either a decision or an option_id is needed, and not both", "decision")
    if reply.decision is not None:
        option = deciding.option_for(asked, reply.decision)
    else:
        option = next((each for each in options if each.option_id == reply.option_id), None)
    if option is None:
        offered = ", ".join(f"{each.option_id!r} ({each.kind})" for each in options) or "none"
        detail = f"the agent offers no such option; it offers: {offered}"
        raise invalid(detail, "option_id" if reply.decision is None else "decision")
    return option
