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
