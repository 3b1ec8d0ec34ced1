"""Apps: tenants that hold a bearer token. Times are epoch seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from clawdforge.wire.bounds import Length


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenCreate:
    """Body of `POST /admin/tokens`. `ip_cidrs` narrows the addresses that may use the token."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    name: Annotated[str, Length(1, 100)]
    ip_cidrs: Annotated[tuple[str, ...], Length(0, 256)] | None = None


@dataclass(frozen=True, slots=True)
class AppToken:
    """Answer of `POST /admin/tokens`. `token` is shown this once; the gateway keeps only its hash."""

    ok: bool
    name: str
    token: str = field(repr=False)
    ip_cidrs: list[str]
    created_at: int


@dataclass(frozen=True, slots=True)
class TokenInfo:
    """A row of `GET /admin/tokens`."""

    name: str
    ip_cidrs: list[str]
    created_at: int
    last_used_at: int | None
    revoked_at: int | None


@dataclass(frozen=True, slots=True)
class TokenPage:
    """Answer of `GET /admin/tokens`: all of them, revoked ones too, oldest first."""

    ok: bool
    tokens: list[TokenInfo]
    count: int


@dataclass(frozen=True, slots=True)
class TokenRevoked:
    """Answer of `DELETE /admin/tokens/{name}`."""

    ok: bool
    name: str
