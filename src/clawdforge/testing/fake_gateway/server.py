"""A listener on loopback and a thread for each connection; both end with it, wherever they stand.

Must not know what a request asks for.
"""

from __future__ import annotations

import logging
import secrets
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

from clawdforge.testing.fake_gateway import connection as http
from clawdforge.testing.fake_gateway.connection import Answer, Cut, HungUp, Incoming, Outlet, Stream
from clawdforge.wire.problems import Problem

_log = logging.getLogger("clawdforge.testing")
_END_WITHIN_S: Final = 5.0
_BACKLOG: Final = 1024


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of one answer, and how it is told from others."""

    headers: Mapping[str, str]
    after_bytes: int | None = None
    after_events: int | None = None


Handler = Callable[[Incoming, str], tuple[Answer | Stream, Fate]]
"""Answers a request, told the id that it has."""


class Server:
    """Listens from when it is made until `close`. Threads that it starts are daemons, and joined at its end."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: set[threading.Thread] = set()
        self._closing = False
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG)
        self.port: int = self._listener.getsockname()[1]
        self.start(self._accept)

    def start(self, work: Callable[[], None]) -> None:
        """Does something in a thread that `close` waits for."""
        thread = threading.Thread(target=self._worked, args=(work,), name="fake-gateway", daemon=True)
        with self._lock:
            self._threads.add(thread)
            thread.start()  # within the lock: what is among the threads can be joined

    def close(self) -> None:
        """Cuts all connections, and waits until every thread has ended.

        Raises:
            RuntimeError: a thread goes on: a function of the test's own does not return.
        """
        with self._lock:
            self._closing = True
            connections = [*self._open]
        with suppress(OSError):  # wakes the listener, on every system
            socket.create_connection(("127.0.0.1", self.port), timeout=_END_WITHIN_S).close()
        for each in connections:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        deadline = time.monotonic() + _END_WITHIN_S
        while running := self._running():
            if time.monotonic() < deadline:
                running[0].join(deadline - time.monotonic())
                continue
            raise RuntimeError("the fake gateway cannot end: a function that answers prompts does not return")

    def _running(self) -> list[threading.Thread]:
        with self._lock:
            return [each for each in self._threads if each is not threading.current_thread()]

    def _worked(self, work: Callable[[], None]) -> None:
        try:
            work()
        finally:
            with self._lock:
                self._threads.discard(threading.current_thread())

    def _accept(self) -> None:
        with self._listener:
            while True:
                connection, _ = self._listener.accept()
                with self._lock:
                    if not self._closing:
                        self._open.add(connection)
                if self._closing:
                    connection.close()
                    return
                self.start(partial(self._serve, connection))

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection, connection.makefile("rb") as reader:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                while self._exchange(http.read(reader, connection), connection):
                    pass
        except (HungUp, Cut, OSError):
            pass  # the client's end of it, or the test's
        finally:
            with self._lock:
                self._open.discard(connection)

    def _exchange(self, incoming: Incoming, connection: socket.socket) -> bool:
        """Answers one request. Returns whether the connection goes on."""
        request_id = "req_" + secrets.token_hex(16)
        try:
            answer, fate = self._handler(incoming, request_id)
        except Exception:  # noqa: BLE001 - logged, and told to the client
            _log.exception("the fake gateway failed")
            failed = Problem("internal", "the fake gateway failed: the log of clawdforge.testing says how")
            answer, fate = http.problem(failed, request_id), Fate({})
        headers = {**fate.headers, "X-Request-Id": request_id}
        if not incoming.lasts:
            headers["Connection"] = "close"
        outlet = Outlet(connection, fate.after_bytes, fate.after_events)
        if isinstance(answer, Stream):
            with closing(answer.pieces):
                outlet.stream(answer, headers)
        else:
            outlet.whole(answer, headers, bodiless=incoming.request.method == "HEAD")
        return incoming.lasts and not self._closing
