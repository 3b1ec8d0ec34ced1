"""`/files`: uploads, kept in memory."""

from __future__ import annotations

import hashlib
import re
import time
from typing import Final

from clawdforge.testing.fake_gateway import connection as http
from clawdforge.testing.fake_gateway.calls.call import Call, Query
from clawdforge.testing.fake_gateway.connection import Answer
from clawdforge.testing.fake_gateway.prompt import Request, SentFile
from clawdforge.testing.fake_gateway.state import Upload, new_id
from clawdforge.wire.files import DEFAULT_TTL_SECS, TTL_SECS, FileDeleted, FileInfo, FileToken
from clawdforge.wire.problems import Problem, invalid

_BOUNDARY: Final = re.compile(r'boundary=(?:"([^"]+)"|([^\s;]+))', re.IGNORECASE)
_NAME: Final = re.compile(r'[;\s]name="((?:[^"\\]|\\.)*)"')
_FILENAME: Final = re.compile(r'[;\s]filename="((?:[^"\\]|\\.)*)"')


def upload(call: Call) -> Answer:
    """Takes one file."""
    file, fields = _form(call.request)
    ttl_secs = Query(fields).integer("ttl_secs", TTL_SECS) or DEFAULT_TTL_SECS
    sha256 = hashlib.sha256(file.content).hexdigest()
    asked = {"name": file.name, "ttl_secs": ttl_secs, "sha256": sha256}

    def work() -> FileToken:
        now = int(time.time())
        made = Upload(call.app.name, new_id("ff"), file, now, now + ttl_secs)
        call.state.uploads[made.token] = made
        size = len(file.content)
        return FileToken(True, made.token, ttl_secs, size, file.name, sha256, made.expires_at)

    return call.once(asked, work)


def get(call: Call) -> Answer:
    """What is known of an upload."""
    call.query()
    found = call.state.upload(call.app, call.name("token"))
    sha256 = hashlib.sha256(found.file.content).hexdigest()
    size, times = len(found.file.content), (found.created_at, found.expires_at)
    return http.of(FileInfo(True, found.token, found.file.name, size, sha256, *times))


def delete(call: Call) -> Answer:
    """Drops an upload."""
    call.query()
    found = call.state.upload(call.app, call.name("token"))
    del call.state.uploads[found.token]
    return http.of(FileDeleted(True, found.token))


def _form(request: Request) -> tuple[SentFile, dict[str, str]]:
    """The file of a form, and its other fields. Raises Problem."""
    kind = request.headers.get("content-type", "")
    named = _BOUNDARY.search(kind)
    if named is None or not kind.lower().startswith("multipart/form-data"):
        raise Problem("unsupported_media_type", "an upload must be multipart/form-data, with a boundary")
    boundary = b"--" + (named[1] or named[2]).encode("latin-1")
    first, *parts = (b"\r\n" + request.body).split(b"\r\n" + boundary)
    if first or not parts or not parts[-1].startswith(b"--"):
        raise Problem("bad_request", "the form is not whole")
    file: SentFile | None = None
    fields: dict[str, str] = {}
    for part in parts[:-1]:
        head, _, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        told = head.decode(errors="replace")
        name = _quoted(_NAME, told)
        if name == "file":
            file = SentFile(_quoted(_FILENAME, told) or "upload", content)
        else:
            fields[name] = content.decode(errors="replace")
    if file is None:
        raise invalid("the form has no part named 'file'", "file")
    return file, fields


def _quoted(pattern: re.Pattern[str], head: str) -> str:
    found = pattern.search(head)
    text = re.sub(r"\\(.)", r"\1", found[1]) if found else ""
    return text.rpartition("/")[2]
