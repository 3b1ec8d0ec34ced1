"""`/sessions/{id}/files`: the workspace of a session or run, to be listed, read, written and emptied."""

from __future__ import annotations

import asyncio
import base64
import os
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import quote_from_bytes, unquote_to_bytes

from starlette.convertors import StringConvertor, register_url_convertor
from starlette.requests import Request
from starlette.types import ASGIApp

from clawdforge.server.apps.registry import App
from clawdforge.server.http import answers, body, context, download, query
from clawdforge.server.http.context import Context
from clawdforge.server.http.download import Download
from clawdforge.server.http.problems import Answer
from clawdforge.server.sandbox import limits
from clawdforge.server.sessions.answers import closed
from clawdforge.server.workspaces import entries, paths, tree
from clawdforge.server.workspaces.space import Full
from clawdforge.server.workspaces.tree import Entry
from clawdforge.wire import codec
from clawdforge.wire.problems import Problem, invalid
from clawdforge.wire.workspace import FilePut, FileRemoved, WorkspaceEntry

LIMITS: Final = range(1, 10_001)
DEFAULT_LIMIT: Final = 1_000
_ABOVE: Final = 4  # parts of a URL's path before the file's: "", sessions, the id, files


class _AnyPath(StringConvertor):
    """All that is left of a URL, line ends too."""

    regex = r"[\s\S]*"


register_url_convertor("any", _AnyPath())


async def list_workspace(request: Request) -> Answer:
    """What lies in a directory of the workspace, or also below it, in order."""
    room = context.of(request)
    app = room.caller(request)
    asked = query.read(request, {"path", "recursive", "limit", "cursor"})
    recursive = query.boolean(asked, "recursive", default=False)
    limit = query.integer(asked, "limit", LIMITS) or DEFAULT_LIMIT
    path = _directory(asked.get("path", ""))
    after = _after(asked.get("cursor"), path)
    workspace = await _workspace(request, room, app)
    listing = partial(_listed, workspace, path, after, limit, recursive=recursive)
    return Answer(await room.trees.run(app.app_id, listing))


async def get_workspace_file(request: Request) -> ASGIApp:
    """A file's bytes, or a part of them."""
    room = context.of(request)
    app = room.caller(request)
    query.read(request, set())
    path = _path(request)
    workspace = await _workspace(request, room, app)
    file = await asyncio.to_thread(entries.open_file, workspace, path)
    lasting = partial(room.streams.call, app)
    return Download(request, file, _shown(path), lasting, room.settings.min_body_bytes_per_sec)


async def put_workspace_file(request: Request) -> Answer:
    """Puts a file in place, whole or not at all, with the directories above it.

    The body is the file, whatever its Content-Type. It is on the disk before it gets its name.
    """
    room = context.of(request)
    app = room.caller(request)
    query.read(request, set())
    path = _path(request)
    paths.check_new(path)
    condition = download.condition(request)
    body.check_encoding(request)
    if body.header(request, b"content-range") is not None:
        raise Problem("bad_request", "a file is put whole: no Content-Range is supported")
    workspace = await _workspace(request, room, app, to_write=True)
    inflow = body.Inflow(request, room.settings.max_upload_bytes, room.settings)
    declared_bytes = int(body.header(request, b"content-length") or 0)
    await _look_for_room(room, app, workspace, declared_bytes)
    incoming = room.uploads.stage()
    try:
        while chunk := await inflow.next():
            await incoming.write(chunk)
        unplaced, sha256, size = await incoming.finish()
        async with room.trees.turn(workspace.name):  # else two could take the same room, or replace one version
            await _look_for_room(room, app, workspace, size)
            placed = await asyncio.to_thread(entries.place, workspace, path, unplaced, condition)
            room.space.wrote(workspace, size)
    finally:
        await incoming.abort()
    etag = download.etag(placed.version)
    return answers.of(FilePut(True, path, placed.size, sha256, created=placed.created, etag=etag))


async def delete_workspace_file(request: Request) -> Answer:
    """Removes a file or a link; a directory with all that it holds where `recursive` says so."""
    room = context.of(request)
    app = room.caller(request)
    asked = query.read(request, {"recursive"})
    recursive = query.boolean(asked, "recursive", default=False)
    path = _path(request)
    condition = download.condition(request)
    workspace = await _workspace(request, room, app, to_write=True)
    removing = partial(entries.remove, workspace, path, condition, recursive=recursive)
    async with room.trees.turn(workspace.name):  # else a condition could be another one's by now
        await room.trees.run(app.app_id, removing)
    return answers.of(FileRemoved(True, _shown(path)))


async def _workspace(request: Request, room: Context, app: App, *, to_write: bool = False) -> Path:
    """The workspace of a session or run of the app. Raises Problem `not_found`, `session_closed`."""
    row = await room.sessions.find(app, request.path_params["session_id"])
    if to_write and row.closed_at is not None:
        raise closed()
    if to_write:
        await room.sessions.settled(row)
    return Path(row.cwd)


async def _look_for_room(room: Context, app: App, workspace: Path, wanted_bytes: int) -> None:
    """Returns where a session may hold so much more. Raises Problem `storage_full`, `not_found`."""
    data_dir, name = room.settings.data_dir, workspace.name
    directories = (workspace, paths.home_of(data_dir, name), paths.tmp_of(data_dir, name))
    try:
        if not room.space.fits(workspace, wanted_bytes):
            await room.trees.run(app.app_id, partial(room.space.count, directories, wanted_bytes))
    except Full as full:
        held = limits.workspace(full.limit_bytes, full.held_bytes).detail
        raise Problem("storage_full", f"{held}: there is no room for this file", limit="workspace") from None
    except FileNotFoundError:
        raise Problem("not_found", "file not found") from None


# --- names -------------------------------------------------------------------------------------------------


def _path(request: Request) -> str:
    """The path of the URL, as bytes: not all names are UTF-8. A slash is one however it is written."""
    parts = request.scope["raw_path"].split(b"/")
    if len(parts) <= _ABOVE or unquote_to_bytes(parts[_ABOVE - 1]) != b"files":
        raise Problem("not_found", "no such path")
    return paths.relative(unquote_to_bytes(b"/".join(parts[_ABOVE:])))


def _directory(path: str) -> str:
    return paths.relative(path.encode()) if path else ""


def _after(cursor: str | None, directory: str) -> str | None:
    if cursor is None:
        return None
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        path = paths.relative(raw)
        if directory and not path.startswith(f"{directory}/"):
            raise ValueError("of another list")
    except (ValueError, Problem) as error:
        raise invalid("the cursor is not one that this list has answered", "cursor") from error
    return path


def _cursor(path: str) -> str:
    return base64.urlsafe_b64encode(os.fsencode(path)).decode().rstrip("=")


def _shown(path: str) -> str:
    return os.fsencode(path).decode(errors="replace")


# --- in a thread ---------------------------------------------------------------------------------------------


def _listed(workspace: Path, path: str, after: str | None, limit: int, *, recursive: bool) -> bytes:
    """A page, encoded. Each row by itself: to encode thousands in one go would hold up the loop."""
    page = tree.listed(workspace, path, after, limit, recursive=recursive)
    rows = ",".join([codec.text(codec.to_json(_row(each))) for each in page.entries])
    cursor = codec.text(_cursor(page.entries[-1].path) if page.more and page.entries else None)
    return f'{{"ok":true,"files":[{rows}],"count":{len(page.entries)},"next_cursor":{cursor}}}'.encode()


def _row(entry: Entry) -> WorkspaceEntry:
    raw = os.fsencode(entry.path)
    shown = raw.decode(errors="replace")
    size = entry.size if entry.kind == "file" else None
    encoded = None if shown.encode() == raw else quote_from_bytes(raw)
    return WorkspaceEntry(shown, entry.kind, size, entry.modified_at, encoded)
