"""`/admin/tokens`: the apps and their tokens. Opened by the admin token only."""

from __future__ import annotations

from starlette.requests import Request

from clawdforge.server.http import answers, body, context, query
from clawdforge.server.http.problems import Answer
from clawdforge.wire.apps import AppToken, TokenCreate, TokenPage, TokenRevoked


async def mint_token(request: Request) -> Answer:
    """Makes an app and its token; the token is shown this once."""
    room = context.of(request)
    room.gate.admin(request)
    asked = await body.read_json(request, TokenCreate, room.settings)
    app, token = await room.apps.mint(asked.name, asked.ip_cidrs or ())
    answer = AppToken(True, app.name, token, [str(each) for each in app.networks], app.created_at)
    return answers.of(answer)


async def list_tokens(request: Request) -> Answer:
    """All tokens, revoked ones too, oldest first."""
    room = context.of(request)
    room.gate.admin(request)
    query.read(request, set())
    infos = room.apps.list()
    return answers.of(TokenPage(ok=True, tokens=infos, count=len(infos)))


async def revoke_token(request: Request) -> Answer:
    """Takes a token out of use."""
    room = context.of(request)
    room.gate.admin(request)
    query.read(request, set())
    name = request.path_params["name"]
    room.streams.end_of(await room.apps.revoke(name))
    return answers.of(TokenRevoked(ok=True, name=name))
