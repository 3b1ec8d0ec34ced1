"""`/files`: what an app hands to its agents."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request

from clawdforge.server.http import answers, context, multipart, query
from clawdforge.server.http.problems import Answer
from clawdforge.wire.files import DEFAULT_TTL_SECS, TTL_SECS, FileToken

_FIELDS: Final = ("ttl_secs",)


async def upload(request: Request) -> Answer:
    """Takes one file.

    Its bytes go to the disk as they arrive. The token names the file in later calls of this app until it expires.
    """
    room = context.of(request)
    app = room.caller(request)
    async with room.uploads.receive(app.app_id) as incoming:
        form = await multipart.read_upload(request, room.settings, incoming.write, _FIELDS)
        ttl_secs = query.integer(form.fields, "ttl_secs", TTL_SECS) or DEFAULT_TTL_SECS
        row = await incoming.finish(form.filename, ttl_secs)
    answer = FileToken(True, row.token, ttl_secs, row.size, row.name, row.sha256, row.expires_at)
    return answers.of(answer)
