"""Events folded into an answer: the one way in which a blocking answer comes to be.

Adjacent text, and adjacent thinking, of one message become one event; a tool call stands once, at its first
place, in its last state; a plan in its last state; permissions, and where a result was asked for again, are kept;
the rest is left out. A folded event carries the `seq` of its last part.
"""

from __future__ import annotations

from typing import Any, Final

from clawdforge.wire import events
from clawdforge.wire.events import Event

_KEPT: Final = frozenset({events.PERMISSION_REQUEST, events.PERMISSION_ANSWER, events.SCHEMA_REPAIR})


class Fold:
    """Takes a turn's events one by one and holds the answer so far."""

    def __init__(self) -> None:
        self._folded: list[dict[str, Any]] = []
        self._pieces: list[str] = []
        self._tools: dict[str, dict[str, Any]] = {}
        self._plan: dict[str, Any] | None = None

    def add(self, event: Event) -> None:
        """Takes the next event of the turn."""
        if event.type in events.STREAMED:
            self._add_streamed(event)
        elif event.type in (events.TOOL_CALL, events.TOOL_CALL_UPDATE):
            self._add_tool(event)
        elif event.type == events.PLAN:
            self._plan = self._put(self._plan, event)
        elif event.type in _KEPT:
            self._put(None, event)

    def result(self) -> list[dict[str, Any]]:
        """The folded events, in order of their first parts. More may be added after."""
        self._join()
        return [dict(event) for event in self._folded]

    def text(self) -> str:
        """The `text` events' contents, joined."""
        self._join()
        return "".join([event["content"] for event in self._folded if event["type"] == events.TEXT])

    @property
    def tool_calls(self) -> int:
        """How many tool calls there were."""
        return len(self._tools)

    def _add_streamed(self, event: Event) -> None:
        last = self._folded[-1] if self._folded else None
        if last is None or last["type"] != event.type or last.get("message_id") != event.data.get("message_id"):
            last = self._put(None, event)
            self._pieces = [event.data["content"]]
            return
        # Joined only when somebody looks: an answer of many thousand chunks must not be copied at each.
        self._pieces.append(event.data["content"])
        last["seq"], last["ts"] = event.seq, event.ts

    def _add_tool(self, event: Event) -> None:
        call = self._tools.get(event.data["id"])
        if call is None:
            call = self._put(None, event)
            call["type"] = events.TOOL_CALL
            self._tools[event.data["id"]] = call
            for name in ("name", "args", "result"):
                call.setdefault(name, None)
            return
        call.update(event.data, seq=event.seq, ts=event.ts)

    def _put(self, old: dict[str, Any] | None, event: Event) -> dict[str, Any]:
        if old is not None:
            old.update(event.as_dict())
            return old
        self._join()
        new = event.as_dict()
        self._folded.append(new)
        return new

    def _join(self) -> None:
        if len(self._pieces) > 1:
            # Only the newest event can be a streamed one with open pieces.
            self._folded[-1]["content"] = "".join(self._pieces)
            self._pieces = [self._folded[-1]["content"]]
