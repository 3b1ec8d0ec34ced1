"""Who asks, and from where: an app by its token, or the admin; 401 and 403.

Reads the raw headers only. It must not learn what a token looks like inside, nor how tokens are kept.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, Generic, Protocol, TypeVar

from starlette.requests import Request

from clawdforge.server.settings import Settings
from clawdforge.wire.problems import Problem

Address = IPv4Address | IPv6Address
App = TypeVar("App")

MAX_TOKEN_BYTES: Final = 512


class Registry(Protocol[App]):
    """What the doors need of the registry of apps. Tokens are compared as bytes, in constant time."""

    def authenticate(self, token: bytes) -> App | None:
        """The app that holds this token now; None where there is none, or none any more."""

    def is_admin(self, token: bytes) -> bool:
        """Whether this is the admin token."""

    def admits(self, app: App, address: Address) -> bool:
        """Whether the app may be used from this address."""


class Gate(Generic[App]):
    """Lets callers in, by their token and the address that their socket really has."""

    def __init__(self, registry: Registry[App], settings: Settings) -> None:
        self._registry = registry
        self._networks = settings.allowed_networks
        # Parsing an address and trying the networks costs more than all the rest of a request's authentication.
        self._admitted = lru_cache(maxsize=1024)(self._admit)

    def app(self, request: Request) -> App:
        """The app that asks.

        Raises:
            Problem: 401 `unauthorized`; 403 `ip_not_allowed`; 403 `forbidden` for the admin's token.
        """
        address = self._address(request)
        token = bearer(request)
        app = self._registry.authenticate(token)
        if app is None:
            if self._registry.is_admin(token):
                raise Problem("forbidden", "the admin token opens /admin/* only; mint a token for the app")
            raise unauthorized()
        if not self._registry.admits(app, address):
            raise _ip_not_allowed()
        return app

    def admin(self, request: Request) -> None:
        """Returns when the admin asks.

        Raises:
            Problem: 401 `unauthorized`; 403 `ip_not_allowed`; 403 `forbidden` for an app's token.
        """
        self._address(request)
        token = bearer(request)
        if self._registry.is_admin(token):
            return
        if self._registry.authenticate(token) is not None:
            raise Problem("forbidden", "an app's token does not open /admin/*; use the admin token")
        raise unauthorized()

    def anyone(self, request: Request) -> None:
        """Returns when the caller's address is one that the gateway talks to; no token is asked for.

        Raises:
            Problem: 403 `ip_not_allowed`.
        """
        self._address(request)

    def _address(self, request: Request) -> Address:
        # The socket's peer and nothing else: anyone can write an X-Forwarded-For.
        peer = request.scope.get("client")
        address = self._admitted(peer[0]) if peer else None
        if address is None:
            raise _ip_not_allowed()
        return address

    def _admit(self, peer: str) -> Address | None:
        address: Address = ip_address(peer)
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped  # an IPv4 caller on a socket that listens on both
        return address if any(address in network for network in self._networks) else None


def bearer(request: Request) -> bytes:
    """The token of the one `Authorization` header.

    The scheme's case does not matter: RFC 9110, 11.1 has it so, and clients do send `bearer`. The token's does.

    Raises:
        Problem: `unauthorized`, one and the same for every way to get it wrong.
    """
    values: list[bytes] = [value for name, value in request.scope["headers"] if name == b"authorization"]
    if len(values) != 1:
        raise unauthorized()
    scheme, _, token = values[0].partition(b" ")
    token = token.strip(b" ")
    if scheme.lower() != b"bearer" or not 0 < len(token) <= MAX_TOKEN_BYTES:
        raise unauthorized()
    return token


def unauthorized() -> Problem:
    """The one 401: it must not tell which part was wrong."""
    return Problem("unauthorized", "a valid token is needed: Authorization: Bearer cf_…")


def _ip_not_allowed() -> Problem:
    return Problem("ip_not_allowed", "callers from this address are not let in")
