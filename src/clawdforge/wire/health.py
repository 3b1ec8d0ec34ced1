"""`GET /healthz`: whether the gateway is up, and what it can start."""

from __future__ import annotations

from dataclasses import dataclass

from clawdforge.wire.sandbox import Sandbox


@dataclass(frozen=True, slots=True)
class Health:
    """Answer of `GET /healthz`. `*_present` says that the program can be started on the gateway's machine."""

    ok: bool
    version: str
    claude_present: bool
    claude_version: str | None
    acpx_present: bool
    acpx_version: str | None
    open_sessions: int
    sandbox: Sandbox
