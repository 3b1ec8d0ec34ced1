"""A server that says what it is told, byte for byte, however wrong: one connection for each answer."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self

_DRIPS_EVERY_S: Final = 0.02
KEYS: Final = {"Idempotency-Supported": "true"}


class RawServer:
    """Answers each request with the next bytes, and hangs up. The last ones are said to all that come after.

    Args:
        answers: the bytes.
        stall: say nothing more instead of hanging up.
        drip: say this again and again instead, every now and then, for as long as the client listens.

    Attributes:
        url: where it listens.
        requests: the heads of the requests so far, as text, with their bodies.
    """

    def __init__(self, *answers: bytes, stall: bool = False, drip: bytes = b"") -> None:
        self._answers = list(answers)
        self._stall = stall
        self._drip = drip
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.requests: list[str] = []
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closing.set()
        socket.create_connection(self._listener.getsockname()).close()  # wakes the listener
        for thread in self._threads:
            thread.join(10)

    def _start(self, work: Callable[..., None], *args: Any) -> None:
        self._threads.append(threading.Thread(target=work, args=args, daemon=True))
        self._threads[-1].start()

    def _accept(self) -> None:
        with self._listener:
            while True:
                connection = self._listener.accept()[0]
                if self._closing.is_set():
                    connection.close()
                    return
                connection.settimeout(10)
                self._start(self._talk, connection)

    def _talk(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            if not (request := _request(connection)):
                return
            with self._lock:
                self.requests.append(request)
                answer = self._answers.pop(0) if self._answers[1:] else self._answers[0]
            connection.sendall(answer)
            while self._drip and not self._closing.wait(_DRIPS_EVERY_S):
                connection.sendall(self._drip)
            if not self._stall:
                connection.shutdown(socket.SHUT_WR)
            while connection.recv(65_536):
                """What the client still sends must not make a reset of this end."""


def _request(connection: socket.socket) -> str:
    came = b""
    while b"\r\n\r\n" not in came:
        if not (piece := connection.recv(65_536)):
            return ""
        came += piece
    head, _, body = came.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").lower().split("\r\n")
    length = next((int(line.split(":")[1]) for line in lines if line.startswith("content-length:")), 0)
    while len(body) < length and (piece := connection.recv(65_536)):
        body += piece
    return f"{head.decode('latin-1')}\r\n\r\n{body.decode('utf-8', 'replace')}"


def answer(body: bytes | Any, status: int = 200, headers: Mapping[str, str] | None = None) -> bytes:
    """An HTTP answer; what is no bytes goes as JSON."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    told = {"Content-Length": str(len(raw)), "Connection": "close", **KEYS, **(headers or {})}
    lines = "".join(f"{name}: {value}\r\n" for name, value in told.items())
    return f"HTTP/1.1 {status} Whatever\r\n{lines}\r\n".encode("latin-1") + raw


def stream(*frames: bytes, headers: Mapping[str, str] | None = None) -> bytes:
    """An answer that is a stream of these frames, and ends as a stream ends."""
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(frame), frame) for frame in frames if frame)
    told = {
        "Content-Type": "text/event-stream; charset=utf-8",
        "Transfer-Encoding": "chunked",
        "Connection": "close",
        **KEYS,
        **(headers or {}),
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in told.items())
    return f"HTTP/1.1 200 OK\r\n{lines}\r\n".encode("latin-1") + chunks + b"0\r\n\r\n"


def frame(seq: Any, type: str = "text", **fields: Any) -> bytes:
    """A frame of a stream as a gateway sends it."""
    told = {"seq": seq, "type": type, "turn_index": 1, "ts": 0, **fields}
    return frames([told])


def frames(objects: Iterable[Any]) -> bytes:
    """Objects, each as a frame."""
    return b"".join(b"data: %b\n\n" % json.dumps(each).encode() for each in objects)
