"""A connection's own bounds, where uvicorn has none: heads, answers that nobody reads, and a polite end.

Below ASGI: it must not know routes, tokens or what a body holds.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any, Final, cast

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from clawdforge.server.http.problems import KEYS_COUNT, answer_to, new_request_id
from clawdforge.server.settings import Settings
from clawdforge.wire.problems import Problem

KEEP_ALIVE_S: Final = 75
BACKLOG: Final = 128  # also so often does asyncio try to accept at a time, and log where it cannot
LINGER_S: Final = 2.0
UNREAD_S: Final = 30.0
ONE_WRITE_BYTES: Final = 64 * 1024
ABORT: Final = "clawdforge.abort"
"""In a request's scope: what ends its connection at once, also where the client does not read."""


def server_config(app: ASGIApp, settings: Settings, **uvicorn_options: Any) -> uvicorn.Config:
    """uvicorn's configuration for the gateway.

    `X-Forwarded-For` is not believed, nothing is upgraded to another protocol, and logging is left alone.
    Connections are kept longer than uvicorn's 5 s: an app that thinks between two turns should find its own open.
    """
    options: dict[str, Any] = {
        "host": settings.host,
        "port": settings.port,
        "http": bounded(settings),
        "loop": "asyncio",
        "ws": "none",
        "lifespan": "off",
        "proxy_headers": False,
        "server_header": False,
        "access_log": False,
        "log_config": None,
        "timeout_keep_alive": KEEP_ALIVE_S,
        "backlog": BACKLOG,
    }
    return uvicorn.Config(app, **{**options, **uvicorn_options})


def bounded(settings: Settings) -> type[BoundedProtocol]:
    """The protocol class with these settings: uvicorn makes its protocols itself, and hands them only its own."""

    class Bounded(BoundedProtocol):
        max_head_bytes = settings.max_head_bytes
        head_timeout_s = settings.head_timeout_secs
        min_rate = settings.min_body_bytes_per_sec

    return Bounded


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's connection, with a limit on heads.

    A connection that has sent nothing is closed without a word after `head_timeout_s`; so much time has every
    later head from its first byte, too. What is refused here gets the contract's error body and is then closed.
    A client that does not read its answer, at `min_rate` bytes a second, is let go: that is held in memory.
    """

    max_head_bytes: int
    head_timeout_s: float
    min_rate: int

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_clock: asyncio.TimerHandle | None = None
        self._linger_clock: asyncio.TimerHandle | None = None
        self._unread_clock: asyncio.TimerHandle | None = None
        self._in_head = True
        self._head_begun = False
        self._head_bytes = 0
        self._unfinished_bytes = 0
        self._refusal = Problem("bad_request", "this is not a valid HTTP/1.1 request")
        self._deaf = False

    # --- what asyncio calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        # asyncio does it only where a socket names its protocol; without it an answer can wait 40 ms for an ack.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._answers = _OneWrite(self)
        self._start_head_clock()

    def data_received(self, data: bytes) -> None:
        if not self._deaf:
            self._unfinished_bytes += len(data)
            super().data_received(data)
            self._watch_head()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_unread_clock()  # what is left of the answer is little

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_head_clock()
        self._stop_unread_clock()
        if self._linger_clock is not None:
            self._linger_clock.cancel()
        self._unset_keepalive_if_required()  # uvicorn forgets it where the connection was reset
        super().connection_lost(exc)

    # --- what the parser calls; an exception ends its work, and uvicorn calls `send_400_response`

    def on_message_begin(self) -> None:
        self._head_begun = True
        self._head_bytes = 0
        self._unfinished_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_head(len(name) + len(value) + 4)
        if self._in_head:  # what comes later are trailers, and uvicorn would take them for headers
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            # To ignore it, as HTTP allows, would lose the body: the parser takes that for the other protocol.
            self._refusal = Problem("bad_request", "connections are not upgraded here; use plain HTTP/1.1")
            raise self._refusal
        self._in_head = False
        self._stop_head_clock()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unfinished_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_head = True
        self._head_begun = False
        self._unfinished_bytes = 0
        super().on_message_complete()

    # --- what uvicorn calls

    def send_400_response(self, msg: str) -> None:
        self._refuse(self._refusal)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.flow.write_paused:
            self._start_unread_clock()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        cycle.transport = cast("asyncio.Transport", self._answers.of_next_response())  # all that a cycle calls
        cast("dict[str, Any]", cycle.scope)[ABORT] = self.transport.abort
        super()._start_asgi_task(cycle, app)

    # --- the clock and the end

    def _watch_head(self) -> None:
        if self._deaf:
            return
        if self._unfinished_bytes > self.max_head_bytes:
            # One header, trailer or chunk extension that does not end: the parser keeps all of it. What came in
            # one read with something finished is not counted, so one read more than the limit can get this far.
            self._refuse(self._head_too_large())
        elif self._in_head and self._head_clock is None and (self._head_begun or not self._busy()):
            self._start_head_clock()

    def _busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _count_head(self, count: int) -> None:
        self._unfinished_bytes = 0
        self._head_bytes += count
        if self._head_bytes > self.max_head_bytes:
            self._refusal = self._head_too_large()
            raise self._refusal

    def _head_too_large(self) -> Problem:
        return Problem("headers_too_large", f"the request's head is larger than {self.max_head_bytes} bytes")

    def _start_head_clock(self) -> None:
        self._head_clock = self.loop.call_later(self.head_timeout_s, self._head_is_late)

    def _stop_head_clock(self) -> None:
        if self._head_clock is not None:
            self._head_clock.cancel()
            self._head_clock = None

    def _head_is_late(self) -> None:
        self._head_clock = None
        if self._head_begun:
            self._refuse(Problem("request_timeout", f"the request's head took over {self.head_timeout_s:g} s"))
        elif not self._busy():
            self.transport.close()

    def _start_unread_clock(self) -> None:
        self._stop_unread_clock()
        unread_bytes = self.transport.get_write_buffer_size()
        self._unread_clock = self.loop.call_later(UNREAD_S, self._look_if_read, unread_bytes)

    def _stop_unread_clock(self) -> None:
        if self._unread_clock is not None:
            self._unread_clock.cancel()
            self._unread_clock = None

    def _look_if_read(self, before_bytes: int) -> None:
        if before_bytes - self.transport.get_write_buffer_size() < UNREAD_S * self.min_rate:
            self.transport.abort()
        else:
            self._start_unread_clock()

    def _refuse(self, problem: Problem) -> None:
        """Says what is wrong, where that can still be said, and ends the connection."""
        self._deaf = True
        self._stop_head_clock()
        if self._busy() and not self.cycle.more_body:
            # The fault is in what follows a whole request: that one gets its answer first.
            self.cycle.keep_alive = False
            return
        if self._busy():
            if self.cycle.response_started:
                self.transport.abort()
                return
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        request_id = new_request_id()
        answer = answer_to(problem, request_id)
        headers = [
            *self.server_state.default_headers,
            *answer.headers,
            (b"x-request-id", request_id.encode()),
            KEYS_COUNT,
            (b"connection", b"close"),
        ]
        lines = [STATUS_LINE[answer.status], *(b"%s: %s\r\n" % pair for pair in headers), b"\r\n", answer.body]
        self.transport.write(b"".join(lines))
        self.close_politely()

    def close_politely(self) -> None:
        """Ends the connection; reads on for a moment where the client is still sending.

        Closing a socket that has unread bytes resets it, and a reset can overtake the answer: the client would
        see a broken pipe in place of a 413.
        """
        if not self._deaf and not self.cycle.more_body:
            self.transport.close()
            return
        self._deaf = True
        self._stop_head_clock()
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._linger_clock = self.loop.call_later(LINGER_S, self.transport.close)


class _OneWrite:
    """What a response is written to: its head waits for the first of its body, so that both leave in one packet.

    A head that nothing follows at once, as that of a stream, leaves at the loop's next round.
    """

    __slots__ = ("_at_head", "_head", "_protocol", "_transport")

    def __init__(self, protocol: BoundedProtocol) -> None:
        self._protocol = protocol
        self._transport = protocol.transport
        self._head = b""
        self._at_head = False

    def of_next_response(self) -> _OneWrite:
        self._at_head = True
        return self

    def write(self, data: bytes) -> None:
        if self._at_head and not data.startswith(b"HTTP/1.1 100 "):
            self._at_head = False
            self._head = data
            self._protocol.loop.call_soon(self._flush)
        elif self._head and len(data) <= ONE_WRITE_BYTES:
            head, self._head = self._head, b""
            self._transport.write(head + data)
        else:
            self._flush()
            self._transport.write(memoryview(data))  # what has to wait is copied once, not twice

    def close(self) -> None:
        self._flush()
        self._protocol.close_politely()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def _flush(self) -> None:
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head)
