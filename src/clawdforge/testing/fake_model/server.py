"""The endpoint itself: records every request, asks the script, answers in the format of the path.

A thread per connection, on loopback. It ends with its `with` block: connections are shut, threads joined.
"""

from __future__ import annotations

import json
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Protocol, Self

from clawdforge.testing.fake_model import anthropic, gemini, openai
from clawdforge.testing.fake_model.script import Ask, Failure, Reply, reply_to

HANG_UP_CHECK_S = 0.02


class Format(Protocol):
    """A vendor's format; a module is one."""

    def takes(self, method: str, path: str) -> bool: ...
    def read(self, path: str, body: dict[str, Any]) -> Ask: ...
    def error(self, status: int, message: str) -> dict[str, Any]: ...
    def whole(self, path: str, ask: Ask, reply: Reply) -> dict[str, Any]: ...
    def stream(self, ask: Ask, reply: Reply) -> Iterator[bytes]: ...


FORMATS: tuple[Format, ...] = (anthropic, openai, gemini)


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came. `body` is the JSON, None if it was none; header names are in lower case."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: Any
    kind: str
    """`turn`: what a user asked; `side`: what the agent asks by itself; `unknown`: answered 404 or 400."""
    ask: Ask | None
    """What it says, whichever the vendor's format; None where it is `unknown`."""

    @property
    def last_text(self) -> str:
        """The text block that the answer follows."""
        return self.ask.last_text if self.ask else ""

    @property
    def model(self) -> str | None:
        return self.ask.model if self.ask else None

    @property
    def system(self) -> str:
        """Every system or developer text, joined by blank lines."""
        return self.ask.system if self.ask else ""

    @property
    def effort(self) -> str | None:
        """As the request has it; None where it has none."""
        return self.ask.effort if self.ask else None

    @property
    def thinks(self) -> bool:
        """Whether thinking is asked for, to be shown."""
        return self.ask is not None and self.ask.thinks


class FakeModel:
    """A running endpoint, from entering its `with` block to leaving it."""

    def __init__(self, port: int = 0) -> None:
        self.requests: list[Request] = []
        self.hung_up: list[Request] = []
        """Those whose client went away before it had the whole answer."""
        self._changed = threading.Condition()
        self._server = Server(("127.0.0.1", port), self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.end()
        self._thread.join()

    @property
    def url(self) -> str:
        """Without a slash at its end."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def turns(self) -> list[Request]:
        """The requests that a user's prompt made, oldest first; each step of a tool loop is one."""
        return [request for request in self.requests if request.kind == "turn"]

    def wait_for(self, predicate: Callable[[FakeModel], object], timeout_s: float) -> None:
        """Return once `predicate(self)` is true; it is looked at again after every request.

        Raises:
            TimeoutError: it was not, for that long.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: predicate(self), timeout_s):
                raise TimeoutError(f"not within {timeout_s} s; requests: {[one.kind for one in self.requests]}")

    def record(self, request: Request) -> int:
        """Keep it, and say how many with the same text came before."""
        with self._changed:
            earlier = sum(one.last_text == request.last_text for one in self.turns)
            self.requests.append(request)
            self._changed.notify_all()
            return earlier

    def record_hang_up(self, request: Request) -> None:
        with self._changed:
            self.hung_up.append(request)
            self._changed.notify_all()


class Server(ThreadingHTTPServer):
    daemon_threads = False

    def __init__(self, address: tuple[str, int], model: FakeModel) -> None:
        super().__init__(address, _Handler)
        self.model = model
        self.ending: threading.Event = threading.Event()
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()

    def end(self) -> None:
        """Take no more, shut what is open, join every thread."""
        self.ending.set()
        self.shutdown()
        with self._lock:
            for connection in self._open:
                shut(connection)
        self.server_close()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that breaks is part of the play; anything else is a defect and is printed."""
        import sys

        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it was closed already


def first_half(frames: Iterator[bytes]) -> list[bytes]:
    every = list(frames)
    return every[: len(every) // 2]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the requests are recorded."""

    def _handle(self) -> None:
        path, _, query = self.path.partition("?")
        body = self._body()
        style = next((one for one in FORMATS if one.takes(self.command, path)), None)
        try:
            ask = style.read(path, body) if style else None
        except (LookupError, TypeError, AttributeError):
            ask = None
        headers = {name.lower(): value for name, value in self.headers.items()}
        kind = ("side" if ask.side else "turn") if ask else "unknown"
        request = Request(self.command, path, query, headers, body, kind, ask)
        earlier = self.server.model.record(request)
        if "upgrade" in headers:
            self._send_json(426, anthropic.error(426, "no protocol but this one"))
        elif style is None:
            self._send_json(404, anthropic.error(404, f"nothing at {path}"))
        elif ask is None:
            self._send_json(400, style.error(400, "not a request of this format"))
        else:
            self._answer(request, style, ask, earlier)

    do_GET = do_POST = do_HEAD = do_PUT = do_DELETE = do_OPTIONS = _handle

    def _body(self) -> Any:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            return json.loads(raw)
        except ValueError:
            return None

    def _answer(self, request: Request, style: Format, ask: Ask, earlier: int) -> None:
        try:
            reply = reply_to(ask, earlier)
        except ValueError as error:
            self._send_json(400, style.error(400, str(error)))
            return
        try:
            if isinstance(reply, Failure):
                self._fail(style, reply)
            elif self._stays_silent(reply.silence_s):
                self._send_reply(request, style, ask, reply)
        except ConnectionError:
            self.server.model.record_hang_up(request)
            self.close_connection = True

    def _fail(self, style: Format, failure: Failure) -> None:
        if failure.status:
            self._send_json(failure.status, style.error(failure.status, failure.message))
        else:
            self._drop()

    def _send_reply(self, request: Request, style: Format, ask: Ask, reply: Reply) -> None:
        if not ask.streams:
            self._send_json(200, style.whole(request.path, ask, reply))
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for frame in first_half(style.stream(ask, reply)) if reply.cut else style.stream(ask, reply):
            if reply.pause_s and not self._stays_silent(reply.pause_s):
                return
            self.wfile.write(b"%x\r\n%b\r\n" % (len(frame), frame))
        if reply.cut:
            self._drop()
        else:
            self.wfile.write(b"0\r\n\r\n")

    def _stays_silent(self, seconds: float) -> bool:
        """Wait; False if the endpoint ends meanwhile.

        Raises:
            ConnectionError: the client has gone.
        """
        deadline = time.monotonic() + seconds
        while (left_s := deadline - time.monotonic()) > 0:
            if self.server.ending.is_set():
                self.close_connection = True
                return False
            readable, _, _ = select.select([self.connection], [], [], min(left_s, HANG_UP_CHECK_S))
            if readable and not self.connection.recv(1, socket.MSG_PEEK):
                raise ConnectionResetError("the client has gone")
        return True

    def _drop(self) -> None:
        self.close_connection = True
        shut(self.connection)

    def _send_json(self, status: int, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
