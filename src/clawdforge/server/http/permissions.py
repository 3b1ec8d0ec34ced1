"""`/sessions/{id}/permissions`: what a session's agent asks, and the app's answers."""

from __future__ import annotations

from starlette.requests import Request

from clawdforge.server.http import answers, body, context, idempotency, query
from clawdforge.server.http.problems import Answer
from clawdforge.wire.permissions import PermissionPage, PermissionReply


async def list_permissions(request: Request) -> Answer:
    """The permission requests of a session or run that wait for an answer, oldest first."""
    room = context.of(request)
    app = room.caller(request)
    query.read(request, set())
    items = await room.answering.waiting(app, request.path_params["session_id"])
    return answers.of(PermissionPage(True, items, len(items)))


async def answer_permission(request: Request) -> Answer:
    """Answers a permission request, by a decision or by one of the options that the agent offers.

    The first answer counts. A later one is told what was decided, and by whom.
    """
    room = context.of(request)
    app = room.caller(request)
    reply = await body.read_json(request, PermissionReply, room.settings)
    session_id, permission_id = request.path_params["session_id"], request.path_params["permission_id"]
    once = await idempotency.once(request, reply)
    told, was = await room.answering.answer(app, session_id, permission_id, reply, once)
    return answers.of(told, idempotency.replayed(was))
