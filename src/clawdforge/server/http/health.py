"""`/healthz`, for whoever asks, and `/openapi.json`: what the gateway is. No secrets, no paths."""

from __future__ import annotations

import asyncio
import shutil
from importlib.metadata import version
from pathlib import Path

from starlette.requests import Request

from clawdforge.server.agents.available import version_of
from clawdforge.server.http import answers, context
from clawdforge.server.http.problems import Answer
from clawdforge.wire.health import Health


async def healthz(request: Request) -> Answer:
    """The frozen fields: `*_present` says that a program can be started here."""
    room = context.of(request)
    room.gate.anyone(request)
    claude = await asyncio.to_thread(room.host.info, "claude")
    acpx = await asyncio.to_thread(shutil.which, "acpx")
    health = Health(
        ok=True,
        version=version("clawdforge"),
        claude_present=claude is not None and claude.available,
        claude_version=claude.version if claude is not None else None,
        acpx_present=acpx is not None,
        acpx_version=version_of(Path(acpx)) if acpx is not None else None,
        open_sessions=room.sessions.open_count,
        sandbox=room.host.sandbox,
    )
    return answers.of(health)


async def openapi_json(request: Request) -> Answer:
    """This document."""
    context.of(request).caller(request)
    return Answer(await asyncio.to_thread(request.app.document))  # FastAPI is loaded for it, once
