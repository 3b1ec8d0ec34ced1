"""Events for the CLI's tests, as the SDK reads them, and what rich makes of things."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import count
from typing import Any

from rich.console import RenderableType

from clawdforge.cli import terminal
from clawdforge.client import telling
from clawdforge.client.events import Event

_SEQ: Iterator[int] = count(1)


def event(type_: str, **data: Any) -> Event:
    """An event of turn 1."""
    return telling.read({"seq": next(_SEQ), "type": type_, "turn_index": 1, "ts": 1_700_000_000_123, **data})


def tool(status: str = "pending", **data: Any) -> Event:
    """A tool call that writes a file."""
    known = {"id": "call-1", "name": "Write", "title": "Write", "kind": "edit", "status": status}
    return event("tool_call", **{**known, **data})


def option(kind: str, name: str | None = None) -> dict[str, str]:
    return {"option_id": f"id-{kind}", "name": name or kind.replace("_", " ").title(), "kind": kind}


def request(*kinds: str, expires_at: int | None = 2_000_000_000_000, **data: Any) -> Event:
    """An agent asks whether it may write."""
    known = {"permission_id": "perm_1", "title": "Write a.txt", "kind": "edit", "tool_call_id": "call-1"}
    return event(
        "permission_request",
        **{**known, "options": [option(kind) for kind in kinds], "expires_at": expires_at, **data},
    )


def printed(*things: RenderableType, width: int = 60) -> str:
    """What a pipe would get: no colours, no orders to a terminal."""
    console = terminal.console()
    console.file = io.StringIO()
    console.width = width
    for thing in things:
        console.print(thing)
    return console.file.getvalue()
