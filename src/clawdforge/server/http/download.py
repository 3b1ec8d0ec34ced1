"""A file as an answer: streamed, in part where a part is asked for, and never passed for what it is not any more.

Must not know where the file comes from, nor who may have it.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from clawdforge.server.http.limits import ABORT
from clawdforge.server.http.problems import Answer, answer_to, request_id
from clawdforge.server.http.stream import Call
from clawdforge.server.workspaces.entries import Condition, OpenFile, version_of
from clawdforge.server.workspaces.names import clean
from clawdforge.wire.problems import Problem

CHUNK_BYTES: Final = 256 * 1024
"""So much is read at a time, and so much of a file is one answer: a call that lasts is one with more."""

BINARY: Final = "application/octet-stream"
_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.IGNORECASE)
_ETAG: Final = re.compile(r'(W/)?"([\x21\x23-\x7e]*)"')
_ETAGS: Final = re.compile(rf"{_ETAG.pattern}(?:[ \t]*,[ \t]*{_ETAG.pattern})*")

Lasting = Callable[[Callable[[], None]], AbstractContextManager[Call]]
"""Counts a call as one that lasts; takes what ends its connection."""


def condition(request: Request) -> Condition:
    """What `If-Match` and `If-None-Match` ask for. Raises Problem `bad_request` for what they cannot mean."""
    # RFC 9110, 13.1: strong comparison for the one, weak comparison for the other.
    match = _versions(request, "if-match", weak=False)
    return Condition(match, _versions(request, "if-none-match", weak=True))


def etag(version: str) -> str:
    """A version as a header has it."""
    return f'"{version}"'


class Download:
    """The answer to a GET or HEAD of an open file, which it closes: 200, 206, 304, 412 or 416.

    A file that is changed while it is sent ends the connection before the last of its bytes: what a client has
    received whole is what the file held at one time.

    Args:
        request: with its conditions and range. Conditions come first (RFC 9110, 13.2.2); several ranges are none.
        file: to be sent.
        name: what it is called; suggested, cleaned, for where it is saved.
        lasting: admits what is more than one piece.
        min_rate: bytes a second; a client that reads slower is let go.
    """

    def __init__(self, request: Request, file: OpenFile, name: str, lasting: Lasting, min_rate: int) -> None:
        self._request = request
        self._file = file
        self._lasting = lasting
        self._patience_s = CHUNK_BYTES / min_rate
        self._headers = [
            (b"etag", etag(file.version).encode()),
            (b"cache-control", b"private, no-cache"),
            (b"accept-ranges", b"bytes"),
            (b"x-content-type-options", b"nosniff"),
            (b"content-disposition", f"attachment; filename*=UTF-8''{quote(clean(name), safe='')}".encode()),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._answer(scope, receive, send)
        finally:
            os.close(self._file.fd)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = condition(self._request)
        version, size = self._file.version, self._file.size
        if not asked.matched(version):
            raise Problem("precondition_failed", "the file has another version")
        if asked.excluded(version):
            await send(
                {"type": "http.response.start", "status": HTTPStatus.NOT_MODIFIED, "headers": self._headers}
            )
            await send({"type": "http.response.body", "body": b""})
            return
        part = _part(self._request, self._file)
        if part is not None and not part:
            await self._unsatisfiable()(scope, receive, send)
            return
        status = HTTPStatus.OK if part is None else HTTPStatus.PARTIAL_CONTENT
        part = range(size) if part is None else part
        if status == HTTPStatus.PARTIAL_CONTENT:
            self._headers.append((b"content-range", f"bytes {part[0]}-{part[-1]}/{size}".encode()))
        if scope["method"] == "HEAD":
            await self._begin(status, part, send)
            await send({"type": "http.response.body", "body": b""})
        elif len(part) <= CHUNK_BYTES:
            whole = await asyncio.to_thread(self._read, part.start, len(part), last=True)
            await self._begin(status, part, send)
            await send({"type": "http.response.body", "body": whole})
        else:
            with self._lasting(scope[ABORT]) as call:
                await self._begin(status, part, send)
                async with call.until_hung_up(receive):  # nothing else tells: what is sent to nobody is just gone
                    await self._pump(part, send, call, scope[ABORT])

    async def _begin(self, status: int, part: range, send: Send) -> None:
        length = [(b"content-type", BINARY.encode()), (b"content-length", str(len(part)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": [*length, *self._headers]})

    async def _pump(self, part: range, send: Send, call: Call, abort: Callable[[], None]) -> None:
        for start in range(part.start, part.stop, CHUNK_BYTES):
            size = min(CHUNK_BYTES, part.stop - start)
            last = start + size == part.stop
            try:
                piece = await asyncio.to_thread(self._read, start, size, last=last)
                async with asyncio.timeout(self._patience_s):
                    await send({"type": "http.response.body", "body": piece, "more_body": not last})
            except (Problem, OSError, TimeoutError):
                abort()  # the head has promised what does not come
                return
            if call.over:
                return

    def _read(self, start: int, size: int, *, last: bool) -> bytes:
        """A piece of the file. Raises Problem where it is not what it was when it was opened."""
        piece = os.pread(self._file.fd, size, start)
        if len(piece) < size or (last and version_of(os.fstat(self._file.fd)) != self._file.version):
            raise Problem("overloaded", "the file is being changed: try again", retry_after_s=1)
        return piece

    def _unsatisfiable(self) -> Answer:
        problem = Problem("range_not_satisfiable", f"the file has {self._file.size} bytes")
        answer = answer_to(problem, request_id(self._request))
        answer.headers.append((b"content-range", f"bytes */{self._file.size}".encode()))
        return answer


def _part(request: Request, file: OpenFile) -> range | None:
    """The bytes that are asked for: None: all; an empty range: none that there are."""
    asked = request.headers.getlist("range")
    only_of = request.headers.getlist("if-range")
    if len(asked) != 1 or only_of not in ([], [etag(file.version)]):
        return None
    found = _RANGE.fullmatch(asked[0].strip())
    if found is None or not any(found.groups()):
        return None
    first, last = found.groups()
    if not first:
        return range(max(0, file.size - int(last)), file.size)
    if last and int(last) < int(first):
        return None
    return range(int(first), min(int(last) + 1 if last else file.size, file.size))


def _versions(request: Request, name: str, *, weak: bool) -> tuple[str, ...] | None:
    """The versions that a header names, None where it is absent; those that are marked as weak only if `weak`."""
    values = request.headers.getlist(name)
    if not values:
        return None
    text = ",".join(values).strip()
    if text == "*":
        return (text,)
    if _ETAGS.fullmatch(text) is None:
        raise Problem("bad_request", f"{name} is neither * nor a list of entity tags")
    return tuple(version for mark, version in _ETAG.findall(text) if weak or not mark)
