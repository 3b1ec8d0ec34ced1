"""HTTP/1.1 on one connection: requests are read, answers written, and cut where a test wants that.

Must not know any route.
"""

from __future__ import annotations

import socket
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import BinaryIO, Final
from urllib.parse import parse_qsl

from clawdforge.testing.fake_gateway.prompt import Request
from clawdforge.wire import codec, sse
from clawdforge.wire.problems import Problem

JSON: Final = "application/json"
_LINE_LIMIT_BYTES: Final = 64 * 1024
_HEADERS_LIMIT: Final = 200

Pieces = Generator[bytes, None, None]


class HungUp(Exception):
    """There is no whole request any more."""


class Cut(Exception):
    """The connection ends here, because a test has said so."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """A request with what only the gateway shall see of it."""

    request: Request
    authorization: str | None = field(repr=False)
    lasts: bool
    """Whether the connection is kept for another one."""

    def header(self, name: str) -> str:
        """A header's value, "" where it is not there."""
        return self.request.headers.get(name, "")

    @property
    def wants_stream(self) -> bool:
        """Whether server-sent events are what the caller accepts."""
        kinds = self.header("accept").lower().split(",")
        return sse.MEDIA_TYPE in (each.partition(";")[0].strip() for each in kinds)


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = JSON


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer that comes in pieces, one server-sent event or comment each."""

    pieces: Pieces
    headers: Mapping[str, str] = field(default_factory=dict)


def of(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """A value of the contract as an answer."""
    return Answer(codec.whole(value).encode(), status, headers or {})


def problem(raised: Problem, request_id: str, headers: Mapping[str, str] | None = None) -> Answer:
    """The contract's answer to a problem."""
    also = dict(headers or {})
    if raised.retry_after_s is not None:
        also["Retry-After"] = str(raised.retry_after_s)
    if raised.status == HTTPStatus.UNAUTHORIZED:
        also["WWW-Authenticate"] = "Bearer"
    return Answer(codec.dumps(raised.body(request_id)), raised.status, also)


class Outlet:
    """What is sent of one answer. It ends the connection after so many bytes or events, where that is set."""

    def __init__(self, connection: socket.socket, after_bytes: int | None, after_events: int | None) -> None:
        self._connection = connection
        self._bytes_left = after_bytes
        self._events_left = after_events

    def whole(self, answer: Answer, headers: Mapping[str, str], *, bodiless: bool) -> None:
        """Sends a whole answer. Raises Cut."""
        length = {"Content-Type": answer.content_type, "Content-Length": str(len(answer.body))}
        if answer.status == HTTPStatus.NOT_MODIFIED:
            length = {}
        head = _head(answer.status, {**length, **answer.headers, **headers})
        self._send(head if bodiless else head + answer.body)

    def stream(self, stream: Stream, headers: Mapping[str, str]) -> None:
        """Sends a stream to its end. Raises Cut."""
        kind = {"Content-Type": sse.MEDIA_TYPE, "Cache-Control": "no-store", "Transfer-Encoding": "chunked"}
        self._send(_head(200, {**kind, **stream.headers, **headers}))
        for piece in stream.pieces:
            if piece is not sse.HEARTBEAT and self._events_left is not None:
                if not self._events_left:
                    raise Cut
                self._events_left -= 1
            self._send(b"%x\r\n%b\r\n" % (len(piece), piece))
        if self._events_left is not None:
            raise Cut
        self._send(b"0\r\n\r\n")

    def _send(self, data: bytes) -> None:
        if self._bytes_left is None:
            self._connection.sendall(data)
            return
        self._connection.sendall(data[: self._bytes_left])
        if len(data) > self._bytes_left:
            raise Cut
        self._bytes_left -= len(data)


def read(reader: BinaryIO, connection: socket.socket) -> Incoming:
    """The next request of a connection, with its whole body.

    Raises:
        HungUp: the client has gone, or does not speak HTTP/1.1.
    """
    try:
        method, target, version = _line(reader).split(" ")
        headers = _headers(reader)
        if headers.get("expect", "").lower() == "100-continue":
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = _body(reader, headers)
    except (OSError, ValueError) as error:
        raise HungUp from error
    path, _, query = target.partition("?")
    authorization = headers.pop("authorization", None)
    request = Request(method, path, dict(parse_qsl(query, keep_blank_values=True)), headers, body)
    lasts = version == "HTTP/1.1" and headers.get("connection", "").lower() != "close"
    return Incoming(request, authorization, lasts)


def _line(reader: BinaryIO) -> str:
    line = reader.readline(_LINE_LIMIT_BYTES)
    if not line.endswith(b"\n"):
        raise HungUp
    return line.decode("latin-1").rstrip("\r\n")


def _headers(reader: BinaryIO) -> dict[str, str]:
    headers: dict[str, str] = {}
    for _ in range(_HEADERS_LIMIT):
        line = _line(reader)
        if not line:
            return headers
        name, _, value = line.partition(":")
        name, value = name.lower(), value.strip()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    raise HungUp


def _body(reader: BinaryIO, headers: Mapping[str, str]) -> bytes:
    if "chunked" in headers.get("transfer-encoding", "").lower():
        return b"".join(_chunks(reader))
    return _exactly(reader, int(headers.get("content-length", 0)))


def _chunks(reader: BinaryIO) -> Iterable[bytes]:
    while size := int(_line(reader).partition(";")[0], 16):
        yield _exactly(reader, size)
        _line(reader)
    while _line(reader):
        pass


def _exactly(reader: BinaryIO, size: int) -> bytes:
    data = reader.read(size)
    if len(data) < size:
        raise HungUp
    return data


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} {_phrase(status)}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
