"""Where an agent's model is: its base URL, and the one by which an agent without network knows it. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

DOOR_PORT: Final = 4180
"""On the loopback of a session that has a network of its own: the same in each, for none sees another's."""

_PORTS: Final = {"http": 80, "https": 443}
_AUTHORITY: Final = re.compile(r"[A-Za-z0-9.:_\[\]-]+")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One model endpoint. Made by `at`.

    Attributes:
        host, port: where it is.
        tls: whether it is spoken to by TLS.
        authority: what a request to it has as its `Host`.
        path: of the base URL, without a slash at its end; what is asked for lies below it.
    """

    host: str
    port: int
    tls: bool
    authority: str
    path: str

    @classmethod
    def at(cls, base_url: str) -> Endpoint:
        """The endpoint of a base URL, such as `https://api.example/v1`.

        Raises:
            ValueError: it is none; says what one looks like, and does not repeat it: there may be a key in it.
        """
        try:
            url = urlsplit(base_url)
            host, port = url.hostname, url.port
        except ValueError:
            host = port = None
        if host is None or url.scheme not in _PORTS or not _AUTHORITY.fullmatch(url.netloc) or url.query:
            raise ValueError("a model's base URL is http:// or https://, a host, and at most a port and a path")
        return cls(host, port or _PORTS[url.scheme], url.scheme == "https", url.netloc, url.path.rstrip("/"))

    @property
    def behind_door(self) -> str:
        """The base URL by which an agent without network reaches it."""
        return f"http://127.0.0.1:{DOOR_PORT}{self.path}"
