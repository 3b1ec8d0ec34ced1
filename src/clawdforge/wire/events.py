"""Events: what happened in a session, in order, each with a sequence number.

An event is flat on the wire: `{seq, type, turn_index, ts, …data}`. `seq` is contiguous from 1 in its session,
`turn_index` is null outside turns, `ts` is epoch milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from clawdforge.wire import codec

TEXT: Final = "text"
THINKING: Final = "thinking"
TOOL_CALL: Final = "tool_call"
TOOL_CALL_UPDATE: Final = "tool_call_update"
PLAN: Final = "plan"
PERMISSION_REQUEST: Final = "permission_request"
PERMISSION_ANSWER: Final = "permission_answer"
TURN_START: Final = "turn_start"
TURN_END: Final = "turn_end"
USAGE: Final = "usage"
MODE: Final = "mode"
COMMANDS: Final = "commands"
AGENT_START: Final = "agent_start"
ERROR: Final = "error"
SESSION_CLOSED: Final = "session_closed"
OTHER: Final = "other"


@dataclass(frozen=True, slots=True)
class Draft:
    """An event that has not happened yet: the log gives it its place and its time."""

    type: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Event:
    """An event in its place. `data` holds the fields of its type; it is never changed after."""

    seq: int
    type: str
    turn_index: int | None
    ts: int
    data: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """The flat object of the wire."""
        return {
            "seq": self.seq,
            "type": self.type,
            "turn_index": self.turn_index,
            "ts": self.ts,
            **self.data,
        }

    def data_json(self) -> str:
        """`data` as compact JSON text: what the store keeps."""
        return codec.text(self.data)
