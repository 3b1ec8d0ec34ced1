"""`/files`: what an app hands to its agents."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request

from clawdforge.server.apps.keys import Note
from clawdforge.server.http import answers, context, idempotency, multipart, query
from clawdforge.server.http.problems import Answer
from clawdforge.server.store.stored import UploadRow
from clawdforge.wire.files import DEFAULT_TTL_SECS, TTL_SECS, FileDeleted, FileInfo, FileToken

_FIELDS: Final = ("ttl_secs",)


async def upload(request: Request) -> Answer:
    """Takes one file.

    Its bytes go to the disk as they arrive. The token names the file in later calls of this app until it expires.
    """
    room = context.of(request)
    app = room.caller(request)
    key = idempotency.key_of(request)
    async with room.uploads.receive(app.app_id) as incoming:
        form = await multipart.read_upload(request, room.settings, incoming.write, _FIELDS)
        ttl_secs = query.integer(form.fields, "ttl_secs", TTL_SECS) or DEFAULT_TTL_SECS
        arrived = await incoming.complete()

        async def store(note: Note | None) -> FileToken:
            also = None if note is None else lambda row: note(_told(row))
            return _told(await incoming.finish(arrived, form.filename, ttl_secs, also))

        wanted = {"name": form.filename, "ttl_secs": ttl_secs, "sha256": arrived.sha256}
        once = None if key is None else idempotency.once_of(request, key, wanted)
        told, was = await room.keys.do(app.app_id, once, FileToken, store)
    return answers.of(told, idempotency.replayed(was))


def _told(row: UploadRow) -> FileToken:
    ttl_secs = row.expires_at - row.created_at
    return FileToken(True, row.token, ttl_secs, row.size, row.name, row.sha256, row.expires_at)


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
