"""Uploads: files that an app hands to its agents. Sizes are bytes, times epoch seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

TTL_SECS: Final = range(60, 86_401)
DEFAULT_TTL_SECS: Final = 3_600


@dataclass(frozen=True, slots=True)
class FileToken:
    """Answer of `POST /files`. `file_token` (`ff_…`) names the file in later calls until `expires_at`."""

    ok: bool
    file_token: str
    ttl_secs: int
    size: int
    name: str | None = None
    sha256: str | None = None
    expires_at: int | None = None


@dataclass(frozen=True, slots=True)
class FileInfo:
    """Answer of `GET /files/{token}`: what is known of an upload, without its bytes."""

    ok: bool
    file_token: str
    name: str
    size: int
    sha256: str
    created_at: int
    expires_at: int


@dataclass(frozen=True, slots=True)
class FileDeleted:
    """Answer of `DELETE /files/{token}`. The token is unknown from now on; what was laid somewhere stays there."""

    ok: bool
    file_token: str
