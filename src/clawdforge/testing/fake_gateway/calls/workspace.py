"""`/sessions/{id}/files` and `…/diff`: a workspace that is kept in memory, and what turns changed in it."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import quote, unquote

from clawdforge.testing.fake_gateway import connection as http
from clawdforge.testing.fake_gateway.calls.call import Call, closed
from clawdforge.testing.fake_gateway.connection import Answer
from clawdforge.testing.fake_gateway.session import Session
from clawdforge.wire.diffs import FileChange, FileDiff, TurnDiff
from clawdforge.wire.problems import Problem, invalid
from clawdforge.wire.workspace import FilePut, FileRemoved, WorkspaceEntry, WorkspacePage

_LIMITS: Final = range(1, 10_001)
_RANGE: Final = re.compile(r"bytes=(\d+)-(\d*)")
_MODE: Final = "100644"


def list_files(call: Call) -> Answer:
    """What lies in a directory, or also below it."""
    query = call.query("path", "recursive", "limit", "cursor")
    recursive = query.boolean("recursive", default=False)
    session = call.state.find(call.app, call.name("session_id"))
    top = _checked(query.values["path"]) if query.values.get("path") else ""
    if top and not any(path.startswith(f"{top}/") for path in session.workspace):
        raise Problem("not_found", "file not found")
    entries = sorted(_entries(session, top, recursive=recursive), key=lambda each: each.path.split("/"))
    page, cursor = query.page(entries, lambda row: quote(row.path, safe=""), _LIMITS, 1000)
    return http.of(WorkspacePage(True, page, len(page), cursor))


def _entries(session: Session, top: str, *, recursive: bool) -> Iterator[WorkspaceEntry]:
    start = f"{top}/" if top else ""
    directories: set[str] = set()
    for path, content in session.workspace.items():
        if not path.startswith(start):
            continue
        steps = path.removeprefix(start).split("/")
        for depth in range(1, len(steps) if recursive else min(len(steps), 2)):
            directories.add(start + "/".join(steps[:depth]))
        if recursive or len(steps) == 1:
            yield WorkspaceEntry(path, "file", len(content), session.created_at)
    for each in directories:
        yield WorkspaceEntry(each, "directory", None, session.created_at)


def get(call: Call) -> Answer:
    """A file's bytes, or a part of them."""
    call.query()
    session, path = _place(call)
    content = session.workspace.get(path)
    if content is None:
        raise _missing(session, path)
    tag = _etag(content)
    headers = {
        "ETag": tag,
        "Cache-Control": "private, no-cache",
        "Accept-Ranges": "bytes",
        "X-Content-Type-Options": "nosniff",
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(path.rpartition('/')[2], safe='')}",
    }
    _check_match(call, content)
    if call.incoming.header("if-none-match") in (tag, "*"):
        return Answer(b"", 304, headers)
    status = 200
    asked = _RANGE.fullmatch(call.incoming.header("range"))
    if asked and call.incoming.header("if-range") in ("", tag):
        first, last = int(asked[1]), min(int(asked[2] or len(content)), len(content) - 1)
        if first > last:
            raise Problem("range_not_satisfiable", f"the file has {len(content)} bytes")
        headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        status, content = 206, content[first : last + 1]
    return Answer(content, status, headers, "application/octet-stream")


def put(call: Call) -> Answer:
    """Puts a file in place."""
    call.query()
    session, path = _place(call, to_write=True)
    old = session.workspace.get(path)
    if old is None and _is_directory(session, path):
        raise invalid("a directory has this name", "path")
    _check_match(call, old)
    if call.incoming.header("if-none-match") == "*" and old is not None:
        raise Problem("precondition_failed", "there is such a file already")
    content = session.workspace[path] = call.request.body
    sha256 = hashlib.sha256(content).hexdigest()
    return http.of(FilePut(True, path, len(content), sha256, created=old is None, etag=_etag(content)))


def delete(call: Call) -> Answer:
    """Removes a file; a directory with all that it holds where `recursive` says so."""
    recursive = call.query("recursive").boolean("recursive", default=False)
    session, path = _place(call, to_write=True)
    _check_match(call, session.workspace.get(path))
    if session.workspace.pop(path, None) is None:
        if not _is_directory(session, path):
            raise Problem("not_found", "file not found")
        if not recursive:
            raise invalid("the directory is not empty: recursive=true removes it with all that it holds", "path")
        for each in [each for each in session.workspace if each.startswith(f"{path}/")]:
            del session.workspace[each]
    return http.of(FileRemoved(True, path))


def diff(call: Call) -> Answer:
    """What a turn has changed, the last one that has begun where none is named."""
    number = call.query("turn").integer("turn", range(1, 10**9))
    session = call.state.session(call.app, call.name("session_id"))
    begun = [each for each in session.turns if each.before is not None and number in (None, each.index)]
    if not begun:
        raise Problem("not_found", "no turn of this session has begun" if number is None else "turn not found")
    turn = begun[-1]
    assert turn.before is not None
    after = session.workspace if turn.after is None else turn.after
    files = list(_changed(turn.before, after))
    return http.of(TurnDiff(True, session.session_id, turn.index, not turn.ended, False, False, files))


def _changed(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> Iterator[FileDiff]:
    for path in sorted({*before, *after}):
        old, new = before.get(path), after.get(path)
        if old == new:
            continue
        change: FileChange = "added" if old is None else "deleted" if new is None else "modified"
        patch = _patch(path, old, new)
        yield FileDiff(
            path=path,
            change=change,
            old_mode=None if old is None else _MODE,
            new_mode=None if new is None else _MODE,
            old_size=None if old is None else len(old),
            new_size=None if new is None else len(new),
            binary=patch is None,
            too_large=False,
            patch=patch,
        )


def _patch(path: str, old: bytes | None, new: bytes | None) -> str | None:
    """The change in git's format; None where it is no text."""
    try:
        texts = [(each or b"").decode() for each in (old, new)]
    except UnicodeDecodeError:
        return None
    if any("\0" in each for each in texts):
        return None
    mode = f"new file mode {_MODE}\n" if old is None else f"deleted file mode {_MODE}\n" if new is None else ""
    names = ("/dev/null" if old is None else f"a/{path}", "/dev/null" if new is None else f"b/{path}")
    before, after = (each.splitlines(keepends=True) for each in texts)
    lines = difflib.unified_diff(before, after, *names)
    whole = (each if each.endswith("\n") else f"{each}\n\\ No newline at end of file\n" for each in lines)
    return f"diff --git a/{path} b/{path}\n{mode}" + "".join(whole)


def _place(call: Call, *, to_write: bool = False) -> tuple[Session, str]:
    session = call.state.find(call.app, call.name("session_id"))
    if to_write and session.closed_at is not None:
        raise closed()
    return session, _checked("/".join(unquote(each) for each in call.names["path"].split("/")))


def _checked(path: str) -> str:
    """A path below the workspace. Raises Problem `invalid`."""
    if any(step in ("", ".", "..") or len(step.encode()) > 255 or "\0" in step for step in path.split("/")):
        raise invalid("the path is relative to the workspace, without empty steps, . and ..", "path")
    return path


def _missing(session: Session, path: str) -> Problem:
    if _is_directory(session, path):
        return invalid("this is a directory, no file", "path")
    return Problem("not_found", "file not found")


def _is_directory(session: Session, path: str) -> bool:
    return any(each.startswith(f"{path}/") for each in session.workspace)


def _check_match(call: Call, content: bytes | None) -> None:
    wanted = call.incoming.header("if-match")
    if wanted and (content is None or wanted not in ("*", _etag(content))):
        raise Problem("precondition_failed", "the file has another version")


def _etag(content: bytes) -> str:
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'
