"""Events: what happened in a session, in order, each with a sequence number.

An event is flat on the wire: `{seq, type, turn_index, ts, …data}`. `seq` is contiguous from 1 in its session,
`turn_index` is null outside turns, `ts` is epoch milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from clawdforge.wire import codec

TEXT: Final = "text"
THINKING: Final = "thinking"
TOOL_CALL: Final = "tool_call"
TOOL_CALL_UPDATE: Final = "tool_call_update"
PLAN: Final = "plan"
PERMISSION_REQUEST: Final = "permission_request"
PERMISSION_ANSWER: Final = "permission_answer"
TURN_QUEUED: Final = "turn_queued"
TURN_START: Final = "turn_start"
TURN_END: Final = "turn_end"
USAGE: Final = "usage"
MODE: Final = "mode"
COMMANDS: Final = "commands"
AGENT_START: Final = "agent_start"
ERROR: Final = "error"
SCHEMA_REPAIR: Final = "schema_repair"
SESSION_CLOSED: Final = "session_closed"
OTHER: Final = "other"

STREAMED: Final = frozenset({TEXT, THINKING})
"""What comes in pieces: `content` of the same `message_id`, if any, goes on with the piece before."""


@dataclass(frozen=True, slots=True)
class EventPage:
    """Answer of `GET /sessions/{id}/events`, oldest first. `next_after` is where the next page begins."""

    ok: bool
    events: list[dict[str, Any]]
    next_after: int


@dataclass(frozen=True, slots=True)
class Draft:
    """An event that has not happened yet: the log gives it its place and its time."""

    type: str
    data: Mapping[str, Any]


class EncodedEvent(NamedTuple):
    """An event as it is stored and sent: `data` is the JSON text of an object, on one line."""

    seq: int
    type: str
    turn_index: int | None
    ts: int
    data: str

    def text(self) -> str:
        """The flat JSON object of the wire: `data` is put into it as it is, not encoded again."""
        turn = "null" if self.turn_index is None else self.turn_index
        head = f'{{"seq":{self.seq},"type":"{self.type}","turn_index":{turn},"ts":{self.ts}'
        return f"{head},{self.data[1:]}" if len(self.data) > len("{}") else head + "}"


@dataclass(frozen=True, slots=True)
class Event:
    """An event in its place. `data` holds the fields of its type; it is never changed after."""

    seq: int
    type: str
    turn_index: int | None
    ts: int
    data: Mapping[str, Any]
    _encoded: EncodedEvent | None = field(default=None, init=False, repr=False, compare=False)

    def as_dict(self) -> dict[str, Any]:
        """The flat object of the wire."""
        return {
            "seq": self.seq,
            "type": self.type,
            "turn_index": self.turn_index,
            "ts": self.ts,
            **self.data,
        }

    def encoded(self, encode: Callable[[Mapping[str, Any]], str] = codec.text) -> EncodedEvent:
        """The event as it is stored and sent; encoded once, however often it is asked for.

        Args:
            encode: makes the JSON text of `data`.

        Raises:
            ValueError, TypeError, RecursionError: `data` is no JSON.
        """
        if self._encoded is None:
            made = EncodedEvent(self.seq, self.type, self.turn_index, self.ts, encode(self.data))
            object.__setattr__(self, "_encoded", made)
            return made
        return self._encoded
