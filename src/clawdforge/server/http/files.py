"""`/files`: what an app hands to its agents."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request

from clawdforge.server.http import answers, context, multipart, query
from clawdforge.server.http.problems import Answer
from clawdforge.wire.files import DEFAULT_TTL_SECS, TTL_SECS, FileDeleted, FileInfo, FileToken

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


async def get_file(request: Request) -> Answer:
    """What is known of one of the app's uploads."""
    room = context.of(request)
    app = room.caller(request)
    query.read(request, set())
    row = await room.uploads.get(app.app_id, request.path_params["token"])
    answer = FileInfo(True, row.token, row.name, row.size, row.sha256, row.created_at, row.expires_at)
    return answers.of(answer)


async def delete_file(request: Request) -> Answer:
    """Drops one of the app's uploads before its time; what a turn has laid into a workspace stays there."""
    room = context.of(request)
    app = room.caller(request)
    query.read(request, set())
    token = request.path_params["token"]
    await room.uploads.remove(app.app_id, token)
    return answers.of(FileDeleted(True, token))
