"""A JSON-RPC 2.0 peer over lines, without I/O: lines in, lines out, callbacks in the order of the lines.

Order is the point: an answer's callback runs before the next line is looked at, so that an update which came
after a turn's end is never counted to it. Must not know what any method means.
Source: https://www.jsonrpc.org/specification
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable
from typing import Any, Final, Protocol

from pydantic_core import from_json, to_json

METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
_OPEN_REQUESTS_LIMIT: Final = 256
_DEPTH_LIMIT: Final = 200
"""Deeper than any agent needs, and far from where encoders and other people's parsers give up."""


class RpcError(Exception):
    """The other side's answer to a request was an error: `code`, `message` and, where given, `data`."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(code, message, data)
        self.code = code
        self.message = message
        self.data = data

    def __str__(self) -> str:
        data = self.data
        details = (data.get("details") or data.get("message")) if isinstance(data, dict) else data
        return f"{self.message} ({details})" if isinstance(details, str) and details else self.message


class Gone(Exception):
    """The other side can no longer answer."""


Answer = Callable[[Any | RpcError | Gone], None]


class Reply:
    """The one answer that a request of the other side is owed."""

    def __init__(self, peer: Peer, request_id: int | str) -> None:
        self._peer: Peer | None = peer
        self._id = request_id

    def result(self, result: Any) -> None:
        """Answers; a second answer goes nowhere."""
        self._send({"result": result})

    def error(self, code: int, message: str) -> None:
        """Answers with an error; a second answer goes nowhere."""
        self._send({"error": {"code": code, "message": message}})

    def _send(self, body: dict[str, Any]) -> None:
        if self._peer is not None:
            peer, self._peer = self._peer, None
            peer.answer(self._id, body)


class Handlers(Protocol):
    """Who hears what the other side says of its own accord. Must not block, must not await."""

    def on_notification(self, method: str, params: dict[str, Any]) -> None:
        """A notification came."""

    def on_request(self, method: str, params: dict[str, Any], reply: Reply) -> None:
        """A request came; `reply` answers it, now or later."""

    def on_noise(self, line: bytes) -> None:
        """A line came that is no JSON-RPC message, or answers nothing that was asked."""


class Peer:
    """One side of a conversation.

    Args:
        send: takes a line, without its newline, for the other side.
        handlers: hears of the other side's requests and notifications.
    """

    def __init__(self, send: Callable[[bytes], None], handlers: Handlers) -> None:
        self._send = send
        self._handlers = handlers
        self._last_id = 0
        self._waiting: dict[int, Answer] = {}
        self._owed = 0
        self._gone: Gone | None = None

    def request(self, method: str, params: dict[str, Any], on_answer: Answer) -> None:
        """Sends a request; `on_answer` gets its result, RpcError or Gone, exactly once."""
        if self._gone is not None:
            on_answer(self._gone)
            return
        self._last_id += 1
        self._waiting[self._last_id] = on_answer
        self._write({"id": self._last_id, "method": method, "params": params})

    async def call(self, method: str, params: dict[str, Any]) -> Any:
        """Sends a request and waits for its result.

        Raises:
            RpcError: the answer was an error.
            Gone: there will be no answer.
        """
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def settle(answer: Any) -> None:
            if future.done():
                return  # the caller has gone
            if isinstance(answer, RpcError | Gone):
                future.set_exception(answer)
            else:
                future.set_result(answer)

        self.request(method, params, settle)
        return await future

    def notify(self, method: str, params: dict[str, Any]) -> None:
        """Sends a notification."""
        self._write({"method": method, "params": params})

    def answer(self, request_id: int | str, body: dict[str, Any]) -> None:
        """Sends a `Reply`'s answer: its `result` or its `error`."""
        self._owed -= 1
        self._write({"id": request_id, **body})

    def feed(self, line: bytes) -> None:
        """Takes one line from the other side."""
        message = parse(line)
        if message is None:
            self._handlers.on_noise(line)
            return
        method, has_id = message.get("method"), "id" in message
        if isinstance(method, str):
            params = message.get("params")
            params = params if isinstance(params, dict) else {}
            if has_id:
                self._requested(message["id"], method, params, line)
            else:
                self._handlers.on_notification(method, params)
        else:
            self._answered(message, line)

    def close(self, reason: str) -> None:
        """The other side is gone: every open request gets Gone, and so does every later one."""
        if self._gone is not None:
            return
        self._gone = Gone(reason)
        waiting, self._waiting = self._waiting, {}
        for on_answer in waiting.values():
            on_answer(self._gone)

    def _requested(self, request_id: Any, method: str, params: dict[str, Any], line: bytes) -> None:
        if not isinstance(request_id, int | str) or isinstance(request_id, bool):
            self._handlers.on_noise(line)
            return
        self._owed += 1
        reply = Reply(self, request_id)
        if self._owed > _OPEN_REQUESTS_LIMIT:
            reply.error(INTERNAL_ERROR, "too many requests at once")
            return
        self._handlers.on_request(method, params, reply)

    def _answered(self, message: dict[str, Any], line: bytes) -> None:
        request_id = message.get("id")
        # An id of another type, or a bool that equals an int, was never ours.
        on_answer = self._waiting.pop(request_id, None) if type(request_id) is int else None
        if on_answer is None:
            self._handlers.on_noise(line)
        elif (error := message.get("error")) is not None:
            on_answer(_error(error))
        else:
            on_answer(message.get("result"))

    def _write(self, body: dict[str, Any]) -> None:
        if self._gone is None:
            # Megabytes of a prompt hold the loop for a third of the time that `json` would take.
            self._send(to_json({"jsonrpc": "2.0", **body}))


def _finite(digits: str) -> float | None:
    number = float(digits)
    return number if math.isfinite(number) else None


_tolerant: Final = json.JSONDecoder(parse_float=_finite, parse_constant=lambda _: None).decode
_DIGITS: Final = bytes.maketrans(b"E123456789", b"e000000000")
_MANY_DIGITS: Final = b"0" * 200


def parse(line: bytes) -> dict[str, Any] | None:
    """A line's JSON object, or None where it is anything else.

    Text that a database or a client could choke on is mended, not refused: a NUL or a lone surrogate becomes
    U+FFFD, as do bytes that are no UTF-8; NaN and infinities become null. What is nested too deep is no message.
    """
    try:
        message = _quickly(line)
    except ValueError:
        message = _mending(line)
    return message if isinstance(message, dict) else None


def _quickly(line: bytes) -> Any:
    """The JSON of nearly all lines, in half the time. Raises ValueError where something may have to be mended."""
    digits = line.translate(_DIGITS, b"+")  # without such exponents and such lengths, any number is a finite float
    if b"\\u0000" in line or b"0e000" in digits or _MANY_DIGITS in digits:
        raise ValueError
    return from_json(line, allow_inf_nan=False)  # its own limit of depth is ours


def _mending(line: bytes) -> Any:
    """The JSON of a line, mended; None where it is none, or is nested too deep."""
    try:
        message = _tolerant(line.decode("utf-8", "replace"))
        if line.count(b"[") + line.count(b"{") > _DEPTH_LIMIT and _too_deep(message):
            return None
        # Both can only stand in JSON as an escape: without one, there is nothing to look for.
        return _mended(message) if b"\\u0000" in line or b"\\ud" in line or b"\\uD" in line else message
    except (ValueError, RecursionError):
        return None


def _too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(_DEPTH_LIMIT):
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
    return bool(level)


def _mended(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "�")
    if isinstance(value, list):
        return [_mended(each) for each in value]
    if isinstance(value, dict):
        return {_mended(name): _mended(each) for name, each in value.items()}
    return value


def _error(error: Any) -> RpcError:
    if not isinstance(error, dict):
        return RpcError(INTERNAL_ERROR, str(error)[:500])
    code, message = error.get("code"), error.get("message")
    return RpcError(
        code if isinstance(code, int) else INTERNAL_ERROR,
        message if isinstance(message, str) and message else "an error without a message",
        error.get("data"),
    )
