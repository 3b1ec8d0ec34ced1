"""`POST /run`: one prompt in, one result out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from clawdforge.wire.agents import AgentOptions, Seconds
from clawdforge.wire.bounds import Length


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest(AgentOptions):
    """Body of `POST /run`. `schema` is a JSON Schema that the result shall fit."""

    prompt: Annotated[str, Length(1)]
    files: Annotated[tuple[str, ...], Length(0, 100)] | None = None
    timeout_secs: Seconds | None = None
    schema: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class RunResult:
    """Answer of `POST /run`.

    `result` is the agent's final text without an enclosing code fence, parsed where it is JSON, else the text.
    `ok` is False where the agent did nothing, refused, or was cancelled: see `stop_reason`.
    """

    ok: bool
    result: Any
    duration_ms: int
    stop_reason: str
    session_id: str | None = None
    turn_index: int | None = None
    agent: str | None = None
    empty: bool = False
    usage: dict[str, Any] | None = None
    schema_valid: bool | None = field(default=None, metadata={"omit_none": True})
    schema_errors: list[str] | None = field(default=None, metadata={"omit_none": True})
