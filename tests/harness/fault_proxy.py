"""A TCP proxy on loopback between an SDK and its gateway, which fails at the byte where it is told to.

It knows as much of HTTP as it takes to tell one request from the next. What came through is kept, to be counted.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final, Literal, Self
from urllib.parse import urlsplit

_READ_BYTES: Final = 1 << 16
_HEAD_END: Final = b"\r\n\r\n"
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
DEADLINE_S: Final = 30

Way = Literal["fin", "rst", "stall", "say"]


@dataclass(frozen=True, slots=True)
class Fault:
    """What becomes of one request's answer.

    Attributes:
        way: the connection is ended, or reset; or nothing more comes until `FaultProxy.release`; or it is the
            proxy that answers.
        at: so many bytes of the answer come through first; with 0 nobody waits for the answer.
        unheard: the gateway never gets the request.
        said: what the proxy answers.
    """

    way: Way
    at: int = 0
    unheard: bool = False
    said: bytes = b""


def saying(status: int, body: bytes = b"", **headers: str) -> Fault:
    """An answer of the proxy's own; of a header's name `_` stands for `-`."""
    lines = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return Fault("say", unheard=True, said="\r\n".join(lines).encode() + _HEAD_END + body)


@dataclass(frozen=True, slots=True)
class Request:
    """One that has come to the proxy, whole. Names of headers are in lower case; `path` has the query, too."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    raw: bytes = field(repr=False)

    @property
    def key(self) -> str | None:
        return self.headers.get("idempotency-key")

    @property
    def streams(self) -> bool:
        """Whether it asks for a stream."""
        return self.headers["accept"] == "text/event-stream"


Decide = Callable[[Request], Fault | None]


class FaultProxy:
    """From construction on it has a port, and from `listen` on it takes connections there.

    Attributes:
        target: the URL of the gateway; it may change.
        decide: asked of each request what shall become of its answer.
        requests: those that have come, in their order.
        hidden: headers that are taken out of the answers, in lower case.
        slice_bytes: how much is sent at once; None for as much as there is.
        answer_bytes: how long the last answer was.
        break_at: a request is reset once so many of its bytes have come; the gateway gets no more of it either;
            each number counts for one.
        stalled: set once an answer stalls.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        self.decide: Decide = lambda _: None
        self.requests: list[Request] = []
        self.hidden: frozenset[str] = frozenset()
        self.slice_bytes: int | None = None
        self.answer_bytes = 0
        self.break_at: list[int] = []
        self.stalled = threading.Event()
        self._released, self._release = socket.socketpair()
        self._listener = _bound(0)
        self._port: int = self._listener.getsockname()[1]
        self._live: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._broken: list[BaseException] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def listen(self) -> Self:
        """Takes connections; before that they are refused."""
        self._listener.listen(128)
        self._run(self._accept, self._listener)
        return self

    def release(self) -> None:
        """What stalls goes on, also what would stall later."""
        self._release.close()

    def sever(self) -> None:
        """Ends all connections that there are."""
        for client in [*self._live]:
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def refuse(self) -> None:
        """Takes no more connections, and ends those that there are; `listen` begins anew."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.sever()
        self._join()
        self._listener = _bound(self._port)

    def close(self) -> None:
        """Ends it, and says what it was that it could not do."""
        self.refuse()
        self._listener.close()
        self._release.close()
        self._released.close()
        if self._broken:
            raise self._broken[0]

    def count(self, method: str, suffix: str) -> int:
        """How many requests of this method there were for paths that end so."""
        return sum(each.method == method and each.path.endswith(suffix) for each in self.requests)

    @contextmanager
    def failing(self, *faults: Fault, of: Callable[[Request], bool] = lambda _: True) -> Iterator[None]:
        """The next requests `of` a sort fail so, one after the other, and all of them come meanwhile."""
        left = list(faults)
        self.decide = lambda request: left.pop(0) if left and of(request) else None
        try:
            yield
        finally:
            self.decide = lambda _: None
        assert not left, f"these faults met no request: {left}"

    def _run(self, work: Callable[[socket.socket], None], connection: socket.socket) -> None:
        thread = threading.Thread(target=self._watched, args=(work, connection), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _watched(self, work: Callable[[socket.socket], None], connection: socket.socket) -> None:
        try:
            work(connection)
        except OSError:
            """The other side has gone, which is what this is about."""
        except BaseException as error:  # noqa: BLE001  # told by `close`
            self._broken.append(error)

    def _join(self) -> None:
        for thread in self._threads:
            thread.join(DEADLINE_S)
            assert not thread.is_alive(), "the proxy hangs"
        self._threads.clear()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            client, _ = listener.accept()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._live.add(client)
            self._run(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        try:
            with client, self._upstream(client) as upstream:
                self._relay(client, upstream)
        finally:
            self._live.discard(client)

    def _upstream(self, client: socket.socket) -> socket.socket:
        parts = urlsplit(self.target)
        try:
            upstream = socket.create_connection((parts.hostname, parts.port), DEADLINE_S)
        except OSError:
            _end(client, "rst")
            raise
        upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return upstream

    def _relay(self, client: socket.socket, upstream: socket.socket) -> None:
        asked = bytearray()
        answer = _Answer(self, client, None)
        while True:
            readable, _, _ = select.select([client, upstream], [], [])
            if client in readable:
                data = client.recv(_READ_BYTES)
                if not data:
                    return
                asked += data
                if self.break_at and len(asked) >= self.break_at[0]:
                    upstream.sendall(asked[: self.break_at.pop(0)])
                    _end(client, "rst")
                    return
                while (request := _taken(asked)) is not None:
                    self.requests.append(request)
                    answer = _Answer(self, client, fault := self.decide(request))
                    if fault is None or not fault.unheard:
                        upstream.sendall(request.raw)
                    if fault is not None and fault.at == 0 and not answer.fail():
                        return
            if upstream in readable:
                data = upstream.recv(_READ_BYTES)
                if not data or not answer.take(data):
                    return

    def wait(self, client: socket.socket) -> bool:
        """Waits for the release; whether the client is still there by then."""
        self.stalled.set()
        readable, _, _ = select.select([client, self._released], [], [])
        return client not in readable


class _Answer:
    """The answer to one request, on its way to the client."""

    def __init__(self, proxy: FaultProxy, client: socket.socket, fault: Fault | None) -> None:
        self._proxy = proxy
        self._client = client
        self._fault = fault
        self._head: bytearray | None = bytearray() if proxy.hidden else None
        self._sent_bytes = 0

    def take(self, data: bytes) -> bool:
        """Sends more of it. Returns whether the connection lives on."""
        data = self._shown(data)
        at = None if self._fault is None else self._fault.at - self._sent_bytes
        if at is None or at > len(data):
            self._send(data)
            return True
        self._send(data[:at])
        if not self.fail():
            return False
        self._send(data[at:])
        return True

    def fail(self) -> bool:
        """Does what it shall. Returns whether the connection lives on."""
        assert self._fault is not None
        fault, self._fault = self._fault, None
        if fault.way == "stall":
            return self._proxy.wait(self._client)
        if fault.way == "say":
            self._client.sendall(fault.said)
            return True
        _end(self._client, fault.way)
        return False

    def _send(self, data: bytes) -> None:
        self._sent_bytes += len(data)
        self._proxy.answer_bytes = self._sent_bytes
        step = self._proxy.slice_bytes or len(data) or 1
        for start in range(0, len(data), step):
            self._client.sendall(data[start : start + step])

    def _shown(self, data: bytes) -> bytes:
        """The data without the headers that are hidden; the head comes in one piece."""
        if self._head is None:
            return data
        self._head += data
        head, end, rest = bytes(self._head).partition(_HEAD_END)
        if not end:
            return b""
        self._head = None
        lines = [each for each in head.split(b"\r\n") if _name(each) not in self._proxy.hidden]
        return b"\r\n".join(lines) + end + rest


@contextmanager
def fault_proxy(target: str, *, listening: bool = True) -> Iterator[FaultProxy]:
    """A proxy; nothing of it is left after."""
    with closing(FaultProxy(target)) as proxy:
        yield proxy.listen() if listening else proxy


def _bound(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    return listener


def _end(client: socket.socket, way: Way) -> None:
    if way == "rst":
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    client.close()


def _taken(asked: bytearray) -> Request | None:
    """The first request in these bytes, which are rid of it; None while it is not whole."""
    head, end, rest = bytes(asked).partition(_HEAD_END)
    if not end:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    named = (line.partition(":") for line in lines)
    headers = {name.lower(): value.strip() for name, _, value in named}
    assert "transfer-encoding" not in headers, "only bodies of a known length come through"
    size = int(headers.get("content-length", "0"))
    if len(rest) < size:
        return None
    raw = bytes(asked[: len(head) + len(end) + size])
    del asked[: len(raw)]
    method, path, _ = first.split(" ")
    return Request(method, path, headers, rest[:size], raw)


def _name(line: bytes) -> str:
    return line.partition(b":")[0].decode("latin-1").lower()
