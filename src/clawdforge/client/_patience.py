"""The time that an answer may take as a whole: requests' timeout is for each read anew, and a drip outlives it.

requests hands a timeout down as it is, to the connection, and the connections made here keep to it. Must not know
what is called.
"""

from __future__ import annotations

import time
from http.client import HTTPResponse
from io import BufferedReader, RawIOBase
from typing import Any, Final

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection


class Patience(float):
    """Seconds until an answer must be there, from when this is made. To requests it is a timeout like any other.

    Args:
        seconds: how many.
        from_sent: they begin when the request has been sent, however long that takes.
    """

    def __new__(cls, seconds: float, *, from_sent: bool = False) -> Patience:
        return super().__new__(cls, seconds)

    def __init__(self, seconds: float, *, from_sent: bool = False) -> None:
        self.from_sent = from_sent
        self.renew(seconds)

    def renew(self, seconds: float) -> None:
        """From now on it is for so many seconds."""
        self._ends_s = time.monotonic() + seconds

    def left_s(self) -> float:
        """What is left of it.

        Raises:
            TimeoutError: nothing.
        """
        left_s = self._ends_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("timed out")
        return left_s


class _Clocked(RawIOBase):
    """A socket's bytes as they come, for as long as there is patience."""

    def __init__(self, sock: Any, raw: RawIOBase, patience: Patience) -> None:
        self._sock = sock
        self._raw = raw
        self._patience = patience

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._patience.left_s())
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


def _answer(connection: HTTPConnection, sock: Any, *args: Any, **options: Any) -> HTTPResponse:
    """An answer that is read by the clock of its connection's timeout, which is a `Patience`."""
    patience: Any = connection.timeout
    if patience.from_sent:
        patience.renew(patience)
    response = HTTPResponse(sock, *args, **options)
    response.fp = BufferedReader(_Clocked(sock, response.fp.detach(), patience))
    return response


class _Http(HTTPConnection):
    response_class: Any = _answer  # by this name http.client asks for an answer


class _Https(HTTPSConnection):
    response_class: Any = _answer


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _Http


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _Https


POOLS: Final[dict[str, type[Any]]] = {"http": _HttpPool, "https": _HttpsPool}
"""Of such connections, by the scheme of their URLs. Their timeouts must be a `Patience`."""
