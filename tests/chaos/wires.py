"""One HTTP request on a connection that breaks where it is told to: after so many bytes, or so much waiting.

A cut is a reset (SO_LINGER 0), as of a client that is killed. Must not decide what to ask, nor when to ask again.
"""

from __future__ import annotations

import http.client
import io
import json
import random
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

PATIENCE_S: Final = 45.0
"""Nothing that is asked here is silent for so long: streams have their heartbeat, turns their deadlines."""
NARROW_BYTES: Final = 1 << 16
"""Room for one segment of the loopback, and not much more: with less it trickles."""
_LINGER_0: Final = struct.pack("ii", 1, 0)


class Broken(Exception):
    """The connection ended before the answer did: whether the request was heard is not known."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Where a client hangs up; None: not there."""

    sent_bytes: int | None = None
    received_bytes: int | None = None
    silent_s: float | None = None


WHOLE: Final = Cut()


def draw(rng: random.Random, *, often: float) -> Cut:
    """A cut at any byte of what is sent or received, or while an answer is waited for; mostly none."""
    if rng.random() >= often:
        return WHOLE
    match rng.randrange(4):
        case 0:
            return Cut(sent_bytes=rng.randrange(600))
        case 1:
            return Cut(received_bytes=int(2 ** rng.uniform(0, 13)))
        case 2:
            return Cut(silent_s=rng.uniform(0.001, 0.05))
        case _:
            return Cut(silent_s=rng.uniform(0.05, 0.6))


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    raw: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.raw)


class Exchange:
    """A request that was sent, and its answer as far as it was read. Used as a context: after it, it is hung up.

    With `narrow`, the kernel takes little for who does not read: the gateway soon notices.

    Raises:
        Broken: here or in any method, where the connection breaks or the cut is reached.
    """

    def __init__(
        self,
        url: str,
        token: str,
        method: str,
        path: str,
        *,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        cut: Cut = WHOLE,
        narrow: bool = False,
    ) -> None:
        sent = {"Authorization": f"Bearer {token}", "Connection": "close", **(headers or {})}
        raw = None if body is None else json.dumps(body).encode()
        if raw is not None:
            sent["Content-Type"] = "application/json"
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
        self._frail: _Frail | None = None
        try:
            self._frail = _Frail((parts.hostname or "", parts.port), cut, narrow=narrow)
            self._connection.sock = self._frail
            self._connection.request(method, path, raw, sent)
            self._response = self._connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Broken(repr(error)) from error
        except BaseException:
            self.close()
            raise

    @property
    def status(self) -> int:
        return self._response.status

    @property
    def headers(self) -> dict[str, str]:
        return {name.lower(): value for name, value in self._response.getheaders()}

    def answer(self) -> Answer:
        """The whole answer."""
        try:
            return Answer(self.status, self.headers, self._response.read())
        except (OSError, http.client.HTTPException) as error:
            raise Broken(repr(error)) from error

    def more(self) -> bytes:
        """Whatever comes next; nothing where the answer ends."""
        try:
            return self._response.read1(1 << 16)
        except (OSError, http.client.HTTPException) as error:
            raise Broken(repr(error)) from error

    def close(self) -> None:
        """Hangs up: what is still on its way is not wanted."""
        if self._frail is not None:
            self._frail.hang_up()
        self._connection.close()

    def __enter__(self) -> Exchange:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Frail:
    """A socket as `http.client` uses one, which breaks at its cut."""

    def __init__(self, address: tuple[str, int | None], cut: Cut, *, narrow: bool) -> None:
        self._socket = socket.socket()
        self._socket.settimeout(PATIENCE_S)
        if narrow:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, NARROW_BYTES)
        try:
            self._socket.connect(address)
        except OSError:
            self._socket.close()
            raise
        self._sent_left = cut.sent_bytes
        self._received_left = cut.received_bytes
        if cut.silent_s is not None:
            self._socket.settimeout(cut.silent_s)

    def sendall(self, data: bytes) -> None:
        if self._sent_left is None:
            self._socket.sendall(data)
            return
        self._socket.sendall(data[: self._sent_left])
        self._sent_left -= len(data)
        if self._sent_left <= 0:
            self._reset()

    def receive_into(self, place: memoryview) -> int:
        if self._received_left is not None:
            if self._received_left == 0:
                self._reset()
            place = place[: self._received_left]
        try:
            count = self._socket.recv_into(place)
        except TimeoutError:
            self._reset()
        if self._received_left is not None:
            self._received_left -= count
        return count

    def makefile(self, _: str) -> io.BufferedReader:
        return io.BufferedReader(_Incoming(self))

    def close(self) -> None:
        """`http.client` is done with its side; the answer may still be read."""

    def hang_up(self) -> None:
        self._socket.close()

    def _reset(self) -> None:
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_0)
        self._socket.close()
        raise ConnectionResetError("cut")


class _Incoming(io.RawIOBase):
    def __init__(self, frail: _Frail) -> None:
        self._frail = frail

    def readable(self) -> bool:
        return True

    def readinto(self, place: Any) -> int:
        return self._frail.receive_into(memoryview(place))
