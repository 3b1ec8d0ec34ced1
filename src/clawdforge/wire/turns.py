"""Turns: one prompt to a session's agent, and what came of it. Durations are milliseconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Self

from clawdforge.wire import codec
from clawdforge.wire.agents import Seconds
from clawdforge.wire.bounds import Length


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnRequest:
    """Body of `POST /sessions/{id}/turn`."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    prompt: Annotated[str, Length(1)]
    files: Annotated[tuple[str, ...], Length(0, 100)] | None = None
    timeout_secs: Seconds | None = None
    schema: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class TurnResult:
    """Answer of a turn: the session's events of this turn, folded (see `wire.fold`).

    `events` is the list as it came; types and fields that this version does not know are kept. `usage` holds the
    fields of `wire.usage.Usage`; `model` is the one that was chosen, else the one that the agent told.
    """

    ok: bool
    session_id: str
    turn_index: int
    events: list[Any]
    stop_reason: str
    duration_ms: int
    empty: bool = False
    usage: dict[str, Any] | None = None
    model: str | None = None
    result: Any = field(default=None, metadata={"omit_none": True})
    schema_valid: bool | None = field(default=None, metadata={"omit_none": True})
    schema_errors: list[str] | None = field(default=None, metadata={"omit_none": True})

    def text(self) -> str:
        """The answer that a person reads: the `text` events' contents, joined. Malformed events add nothing."""
        return "".join(
            event["content"]
            for event in self.events
            if isinstance(event, Mapping) and event.get("type") == "text" and isinstance(event.get("content"), str)
        )

    @classmethod
    def from_response(cls, body: Mapping[str, Any]) -> Self:
        """Reads an answer's JSON object; unknown fields are ignored, missing and null ones get a neutral value.

        Raises:
            codec.Malformed: a field is there with a wrong type.
        """
        neutral = {
            "ok": False,
            "session_id": "",
            "turn_index": 0,
            "events": [],
            "stop_reason": "",
            "duration_ms": 0,
        }
        return codec.from_json(cls, body, neutral)
