"""Where the gateway is and who asks: arguments, else the environment, else the default.

Reads and checks; must not connect, and must not put a token into a message.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

DEFAULT_URL: Final = "http://127.0.0.1:8800"
_BLANK: Final = re.compile(r"[\x00-\x20\x7f]")
_TOKEN: Final = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True)
class Config:
    """A checked place and identity. `base_url` has no slash at its end."""

    base_url: str
    token: str | None = field(default=None, repr=False)

    @property
    def host(self) -> str:
        """The host of `base_url`, without brackets and port."""
        return urlsplit(self.base_url).hostname or ""

    @property
    def is_loopback(self) -> bool:
        """Whether the gateway runs on this very machine, as far as the URL tells."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost" or self.host.endswith(".localhost")


def resolve(base_url: str | None, token: str | None, environ: Mapping[str, str]) -> Config:
    """Finds URL and token. An empty variable counts as unset; no token at all is fine (`GET /healthz`).

    Raises:
        ValueError: the URL is none of http or https, or the token cannot stand in an HTTP header.
    """
    url = base_url if base_url is not None else environ.get("CLAWDFORGE_URL") or DEFAULT_URL
    secret = token if token is not None else environ.get("CLAWDFORGE_TOKEN")
    return Config(_checked_url(url), _checked_token(secret))


def _checked_url(url: str) -> str:
    url = url.strip()
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 0) >= 0
        valid = valid and not _BLANK.search(url)
    except ValueError:
        valid = False
    if not valid:
        raise ValueError(f"the gateway's URL must look like {DEFAULT_URL}")
    if parts.username is not None or parts.password is not None:
        raise ValueError("the gateway's URL must not hold a user or password; give the token on its own")
    if parts.query or parts.fragment:
        raise ValueError("the gateway's URL must not hold a query or fragment")
    return url.rstrip("/")


def _checked_token(token: str | None) -> str | None:
    token = (token or "").strip()  # files and shells add line ends
    if not token:
        return None
    if not _TOKEN.fullmatch(token):
        raise ValueError("the token holds characters that no HTTP header can carry")
    return token
