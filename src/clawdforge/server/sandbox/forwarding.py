"""What an agent asks of its model, as it is sent on: each request anew, to the one endpoint. Pure.

The agent is not trusted. What goes out is written here, from what was understood: so the endpoint never reads a
request differently, and none names another host than the endpoint's, which may serve many. What can be understood
in two ways is refused. Bodies pass through. Source: RFC 9112; strict parsing is llhttp's.
"""

from __future__ import annotations

import json
import re
from typing import Final

import httptools

HEAD_LIMIT_BYTES: Final = 64 * 1024
"""Of a request's head, and of anything else in it that is not its body."""

_FIELDS_LIMIT: Final = 256
_TARGET: Final = re.compile(rb"/[\x21-\x7e]*")
# Of one connection, not of the request; and what would make of it something that is not understood here.
_NOT_SENT_ON: Final = frozenset(
    {
        b"host",
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)


class Refused(Exception):
    """A request that is not sent on.

    Attributes:
        status: of the answer.
    """

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status

    def answer(self) -> bytes:
        """The whole response, the last on its connection: an error in the words of every model's API."""
        error = {"type": "api_error", "code": self.status, "status": "UNAVAILABLE", "message": str(self)}
        body = json.dumps({"type": "error", "error": error}).encode()
        head = (
            f"HTTP/1.1 {self.status} Refused\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        return head.encode() + body


class Forwarding:
    """The requests of one connection, in pieces as they come.

    Args:
        authority: of the endpoint (`endpoint.Endpoint`).
    """

    def __init__(self, authority: str) -> None:
        self._host = b"Host: " + authority.encode()
        self._parser = httptools.HttpRequestParser(self)
        self._target = b""
        self._fields: list[tuple[bytes, bytes]] = []
        self._in_head = True
        self._chunked = False
        self._beside_body_bytes = 0
        self._over = False
        self._out: list[bytes] = []
        self._body: list[bytes] = []
        self._refusal: Refused | None = None

    def feed(self, piece: bytes) -> bytes:
        """What to send to the endpoint for a piece of what the agent sent; it may be nothing yet.

        Raises:
            Refused: nothing of it may be sent, and nothing that comes after it.
        """
        self._out, self._over = [], False
        self._beside_body_bytes += len(piece)
        try:
            self._parser.feed_data(piece)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            raise self._refusal or Refused(400, f"this is no HTTP/1.1 request: {error}") from None
        if self._beside_body_bytes > HEAD_LIMIT_BYTES:
            raise Refused(431, f"a request's head may have {HEAD_LIMIT_BYTES} bytes")
        self._flush_body()
        return b"".join(self._out)

    # --- what the parser tells -----------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._over:
            self._refuse(400, "one request at a time: the next one after the answer")
        self._target, self._fields, self._in_head = b"", [], True

    def on_url(self, piece: bytes) -> None:
        self._target += piece

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            self._refuse(400, "a request's body may have no trailer")
        self._fields.append((name, value))
        if len(self._fields) > _FIELDS_LIMIT:
            self._refuse(431, f"a request may have {_FIELDS_LIMIT} header fields")

    def on_headers_complete(self) -> None:
        if self._parser.get_http_version() != "1.1":
            self._refuse(505, "a request must be HTTP/1.1")
        if self._parser.should_upgrade():
            self._refuse(426, "there is only HTTP/1.1 on the way to the model: no upgrade, such as to a WebSocket")
        if not _TARGET.fullmatch(self._target):
            self._refuse(400, "a request's target must be a path")
        codings = [value.lower() for name, value in self._fields if name.lower() == b"transfer-encoding"]
        if codings not in ([], [b"chunked"]):
            self._refuse(400, "a request's transfer coding can be chunked, and no other")
        self._chunked, self._in_head, self._beside_body_bytes = bool(codings), False, 0
        self._out.append(self._head())

    def on_body(self, piece: bytes) -> None:
        self._body.append(piece)
        self._beside_body_bytes = 0

    def on_message_complete(self) -> None:
        self._flush_body()
        if self._chunked:
            self._out.append(b"0\r\n\r\n")
        self._beside_body_bytes, self._over = 0, True

    # --- ---------------------------------------------------------------------------------------------------

    def _head(self) -> bytes:
        lines = [b" ".join((self._parser.get_method(), self._target, b"HTTP/1.1")), self._host]
        lines += [b": ".join(field) for field in self._fields if field[0].lower() not in _NOT_SENT_ON]
        if self._chunked:
            lines.append(b"Transfer-Encoding: chunked")
        if not self._parser.should_keep_alive():
            lines.append(b"Connection: close")
        return b"\r\n".join((*lines, b"", b""))

    def _flush_body(self) -> None:
        """What came of a body goes on as one piece, however small the agent has cut it."""
        if not self._body:
            return
        body, self._body = b"".join(self._body), []
        self._out += (b"%x\r\n" % len(body), body, b"\r\n") if self._chunked else (body,)

    def _refuse(self, status: int, sentence: str) -> None:
        self._refusal = Refused(status, sentence)
        raise self._refusal
