"""Turns: one prompt to a session's agent, and what came of it. Durations are milliseconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Generic, Literal, Self

from clawdforge.wire import codec, results
from clawdforge.wire.agents import Seconds
from clawdforge.wire.bounds import Length, Range

Delivery = Literal["reject", "queue"]

if TYPE_CHECKING:
    # Its default, which Python 3.11 does not know, lets annotations say plainly `RunResult` or `TurnResult`.
    from typing_extensions import TypeVar

    T = TypeVar("T", default=Any)
else:
    from typing import TypeVar

    T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnRequest:
    """Body of `POST /sessions/{id}/turn`. The times and the `schema` are this turn's own, before the session's.

    `delivery` says what becomes of a prompt while a turn runs: it is refused, or waits for its turn.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    prompt: Annotated[str, Length(1)]
    files: Annotated[tuple[str, ...], Length(0, 100)] | None = None
    timeout_secs: Seconds | None = None
    startup_timeout_secs: Seconds | None = None
    idle_timeout_secs: Seconds | None = None
    permission_timeout_secs: Seconds | None = None
    schema: dict[str, Any] | None = None
    delivery: Delivery | None = None


TurnStatus = Literal["queued", "running", "done", "failed"]


@dataclass(frozen=True, slots=True)
class TurnAccepted:
    """Answer, 202, of a turn that its caller does not wait for."""

    ok: bool
    session_id: str
    turn_index: int
    status: TurnStatus


@dataclass(frozen=True, slots=True)
class TurnError:
    """What a failed turn was answered with."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnItem:
    """A row of `GET /sessions/{id}/turns`. What only its end can tell is None until then.

    `started_at` is epoch seconds: when it began, of a queued one when it was accepted.
    """

    turn_index: int
    status: TurnStatus
    started_at: int
    ok: bool | None
    stop_reason: str | None
    duration_ms: int | None
    error: TurnError | None
    usage: dict[str, Any] | None
    model: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnInfo(TurnItem):
    """Answer of `GET /sessions/{id}/turns/{n}`: one turn, with its events so far, folded as in its answer.

    `extra` is what a failed turn's answer told besides.
    """

    session_id: str
    events: list[Any]
    empty: bool
    extra: dict[str, Any] | None = field(default=None, metadata={"omit_none": True})
    result: Any = field(default=None, metadata={"omit_none": True})
    schema_valid: bool | None = field(default=None, metadata={"omit_none": True})
    schema_errors: list[str] | None = field(default=None, metadata={"omit_none": True})
    schema_repaired: bool | None = field(default=None, metadata={"omit_none": True})


@dataclass(frozen=True, slots=True)
class TurnPage:
    """Answer of `GET /sessions/{id}/turns`, newest first. `next_cursor` is None on the last page."""

    ok: bool
    turns: list[TurnItem]
    count: int
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRequest:
    """Body of `POST /sessions/{id}/cancel`: which turn, the running one where it is not said."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    turn_index: Annotated[int, Range(1, 10**9)] | None = None


@dataclass(frozen=True, slots=True)
class TurnCancelled:
    """Answer of `POST /sessions/{id}/cancel`: whether this call ended a turn, which has ended by now."""

    ok: bool
    cancelled: bool
    turn_index: int | None = None


@dataclass(frozen=True, slots=True)
class TurnResult(Generic[T]):
    """Answer of a turn: the session's events of this turn, folded (see `wire.fold`).

    `events` is the list as it came; types and fields that this version does not know are kept. `text()` is the
    answer that a person reads, `result` that by a `schema`, where there is one. The rest is as `RunResult` has it.
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
    result: T = field(default=None, metadata={"omit_none": True})  # type: ignore[assignment] # None: not asked for
    schema_valid: bool | None = field(default=None, metadata={"omit_none": True})
    schema_errors: list[str] | None = field(default=None, metadata={"omit_none": True})
    schema_repaired: bool | None = field(default=None, metadata={"omit_none": True})

    def text(self) -> str:
        """The answer that a person reads (`results.spoken`). Malformed events add nothing."""
        return results.spoken(self.events)

    @classmethod
    def from_response(cls, body: Mapping[str, Any]) -> Self:
        """Reads an answer's JSON object; unknown fields are ignored, missing and null ones get a neutral value.

        Raises:
            ValueError: a field is there with a wrong type.
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
