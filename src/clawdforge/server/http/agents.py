"""`/agents`: what can run here."""

from __future__ import annotations

import asyncio

from starlette.requests import Request

from clawdforge.server.http import answers, context, query
from clawdforge.server.http.problems import Answer
from clawdforge.wire import codec
from clawdforge.wire.agents import AgentAnswer, AgentPage
from clawdforge.wire.problems import Problem


async def list_agents(request: Request) -> Answer:
    """Every agent of the catalog: available, or why not and what mends it."""
    room = context.of(request)
    room.caller(request)
    query.read(request, set())
    infos = await asyncio.to_thread(room.host.infos)
    return answers.of(AgentPage(ok=True, agents=infos, count=len(infos), sandbox=room.host.sandbox))


async def get_agent(request: Request) -> Answer:
    """One agent of the catalog."""
    room = context.of(request)
    room.caller(request)
    query.read(request, set())
    info = await asyncio.to_thread(room.host.info, request.path_params["name"])
    if info is None:
        raise Problem("not_found", "agent not found")
    return answers.of(AgentAnswer(ok=True, **codec.to_json(info)))
