"""The connections of the twin of threads: requests' own, but that an answer has its time as a whole.

A timeout of requests' is for each read anew, and an answer that drips outlives it. It is handed down as it is, to
the connection, and the connections made here keep to it. Must not know what is called.
"""

from __future__ import annotations

import time
import weakref
from contextlib import suppress
from functools import partial
from http.client import HTTPResponse
from http.cookiejar import DefaultCookiePolicy
from io import BufferedReader, RawIOBase
from typing import Any, Final

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, ProxyManager

_POOL_SIZE: Final = 100


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


def _answer(connection: Any, sock: Any, *args: Any, **options: Any) -> HTTPResponse:
    """An answer that is read by the clock of its connection's timeout.

    Where an app has put a timeout or a socket of its own there, as its tests may, it is read as they have it.
    """
    response = HTTPResponse(sock, *args, **options)
    patience = connection.timeout
    if isinstance(patience, Patience) and isinstance(response.fp, BufferedReader):
        if patience.from_sent:
            patience.renew(patience)
        response.fp = BufferedReader(_Clocked(sock, response.fp.detach(), patience))
    return response


class _Patient:
    """A pool whose connections make such answers. Their class is not its matter: apps' tests have their own."""

    def _new_conn(self) -> Any:
        connection = super()._new_conn()  # type: ignore[misc]  # beside this stands a pool of urllib3's
        # By this name http.client asks for an answer; weak, or the connection would hold itself.
        connection.response_class = partial(_answer, weakref.proxy(connection))
        return connection


class _HttpPool(_Patient, HTTPConnectionPool):
    """See the bases."""


class _HttpsPool(_Patient, HTTPSConnectionPool):
    """See the bases."""


# Of such connections, by the scheme of their URLs.
_POOLS: Final[dict[str, type[Any]]] = {"http": _HttpPool, "https": _HttpsPool}


class _Adapter(HTTPAdapter):
    """requests' own adapter, but that its connections are patient, and closing it closes them at once.

    It only forgets them otherwise, and an exception that somebody keeps keeps them open. `send` stays as it is:
    apps' tests put their own in its place.
    """

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **options)
        if isinstance(manager, ProxyManager):  # one for SOCKS makes connections of its own kind
            manager.pool_classes_by_scheme = _POOLS
        return manager

    def close(self) -> None:
        for manager in (self.poolmanager, *self.proxy_manager.values()):
            for key in manager.pools.keys():  # noqa: SIM118  # its other ways of iterating are forbidden
                with suppress(KeyError):  # another thread was quicker
                    manager.pools[key].close()
        super().close()


def new_http() -> requests.Session:
    """A session that makes patient connections, keeps them, and has no cookies."""
    http = requests.Session()
    for scheme in ("http://", "https://"):
        # As many connections kept as threads are likely; beyond that they are made and dropped.
        http.mount(scheme, _Adapter(pool_maxsize=_POOL_SIZE))
    # The contract knows no cookies, and threads would share them.
    http.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    return http
