"""Every answer's last door: a request id on each, and the contract's error body for whatever was raised.

A plain ASGI application around the routes. It must not know what any route does.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import textwrap
import traceback
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clawdforge.server.store.base import StorageError
from clawdforge.wire import codec
from clawdforge.wire.problems import Problem

Headers = Sequence[tuple[bytes, bytes]]

_log = logging.getLogger(__name__)

_REQUEST_ID: Final = "clawdforge.request_id"
KEYS_COUNT: Final = (b"idempotency-supported", b"true")
"""On every answer: the gateway heeds `Idempotency-Key`."""
_UNPRINTABLE: Final = re.compile(r"[^\n\x20-\x7e]")


def new_request_id() -> str:
    """`req_` and 128 random bits."""
    return "req_" + secrets.token_hex(16)


def request_id(request: Request) -> str:
    """The id that this request's answer carries. A caller's own `X-Request-Id` is not trusted, so not used."""
    return str(request.scope[_REQUEST_ID])


class Answer:
    """A whole response that is already encoded: the cheapest thing that a route can return."""

    __slots__ = ("body", "headers", "status")

    def __init__(
        self,
        body: bytes | bytearray,
        status: int = 200,
        headers: Headers = (),
        *,
        content_type: bytes = b"application/json",
    ) -> None:
        """`headers` are added to Content-Type and Content-Length; their names are in lower case."""
        self.body: bytes | bytearray = body
        self.status: int = status
        self.headers: list[tuple[bytes, bytes]] = [
            (b"content-type", content_type),
            (b"content-length", str(len(body)).encode()),
            *headers,
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body})


def answer_to(
    problem: Problem, request_id: str, *, encode: Callable[[dict[str, Any]], bytes | bytearray] = codec.dumps
) -> Answer:
    """What the caller is told of a problem: the contract's body, and the headers that its status asks for."""
    headers = []
    if problem.retry_after_s is not None:
        headers.append((b"retry-after", str(problem.retry_after_s).encode()))
    if problem.status == HTTPStatus.UNAUTHORIZED:
        headers.append((b"www-authenticate", b"Bearer"))
    if isinstance(problem, MethodNotAllowed):
        headers.append((b"allow", ", ".join(problem.allowed).encode()))
    try:
        body = encode(problem.body(request_id))
    except (TypeError, ValueError):  # an extra field that is no JSON must not cost the caller the rest
        _log.exception("%s: the extra fields of %s are no JSON", request_id, problem.code)
        body = codec.dumps(Problem(problem.code, problem.detail).body(request_id))
    return Answer(body, problem.status, headers)


class MethodNotAllowed(Problem):
    """405. `allowed` are the methods that the path has."""

    def __init__(self, method: str, allowed: Sequence[str]) -> None:
        super().__init__("method_not_allowed", f"{method} is no method of this path; it has {', '.join(allowed)}")
        self.allowed = allowed


class Front:
    """The application that the server calls: `app`, with every request named and every error answered.

    Whatever `app` raises, the caller gets the contract's error body, and never a traceback; what nobody foresaw is
    logged under the request's id. A connection whose request body was not read to its end is closed after the
    answer: nobody is going to count the rest.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope[_REQUEST_ID] = new_request_id()
        exchange = _Exchange(scope, receive, send)
        try:
            await self._app(scope, exchange.receive, exchange.send)
            return
        except ClientDisconnect:
            return
        except (Exception, asyncio.CancelledError) as raised:  # noqa: BLE001 - the last door: see `_problem`
            problem = _problem(raised, scope)
        if exchange.started:  # too late for another answer; the server closes a connection that was left half-way
            _log.warning("%s %s broke off: %s", scope[_REQUEST_ID], _route(scope), problem.code)
            return
        await answer_to(problem, scope[_REQUEST_ID])(scope, receive, exchange.send)


class _Exchange:
    """One request and its answer, seen from the server's side of `app`."""

    __slots__ = ("_body_pending", "_receive", "_request_id", "_send", "started")

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._request_id: bytes = scope[_REQUEST_ID].encode()
        self._body_pending = any(
            (name == b"content-length" and value != b"0") or name == b"transfer-encoding"
            for name, value in scope["headers"]
        )
        self.started = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            self._body_pending = False
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            headers = [*message.get("headers", ()), (b"x-request-id", self._request_id), KEYS_COUNT]
            if self._body_pending:
                headers.append((b"connection", b"close"))
            message = {**message, "headers": headers}
        await self._send(message)


def _problem(raised: BaseException, scope: Scope) -> Problem:
    """What the caller is told of an exception. What nobody foresaw goes to the log, and only there."""
    match raised:
        case Problem():
            return raised
        case HTTPException(status_code=HTTPStatus.NOT_FOUND):
            return Problem("not_found", "no such path")
        case asyncio.CancelledError():
            # The server cancels what still runs when it ends. This is the outermost frame of the request's task,
            # which ends here in any case; the caller is owed a reason.
            return Problem("shutting_down", "the gateway is shutting down")
        case StorageError():
            _log.error("%s %s: not stored: %s", scope[_REQUEST_ID], _route(scope), _plain(str(raised)))
            if raised.full:
                return Problem("storage_full", "the gateway has no room left on its disk")
        case _:
            _log.error("%s %s failed\n%s", scope[_REQUEST_ID], _route(scope), _traceback(raised, scope))
    return Problem("internal", "something went wrong inside the gateway; its log names this request's id")


def _route(scope: Scope) -> str:
    """The request as a log line may name it: the route's template, since a path can hold tokens and newlines."""
    return f"{scope['method']} {getattr(scope.get('route'), 'path', '(no route)')}"


def _traceback(error: BaseException, scope: Scope) -> str:
    """For the log: nothing in it can pass for a line of its own, and the caller's credentials are struck out."""
    text = "".join(traceback.format_exception(error))
    for name, value in scope["headers"]:
        if name == b"authorization":
            for word in value.decode("latin-1").split():
                text = text.replace(word, "[credentials]") if len(word) > len("Bearer") else text
    return textwrap.indent(_plain(text), "| ")


def _plain(text: str) -> str:
    return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text)
