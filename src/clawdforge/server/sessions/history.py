"""The conversation so far, as text for an agent that remembers nothing of it: built from the stored events. Pure.

A line of JSON for each thing that was said or done, oldest first: whatever was said, it cannot be taken for what
stands around it. Bounded in bytes, however long the conversation: the newest is kept, what is left out is named.
"""

from __future__ import annotations

import json
import re
from collections import deque
from typing import Any, Final

from clawdforge.wire import events
from clawdforge.wire.events import EncodedEvent

OPENING: Final = "<conversation-so-far>"
CLOSING: Final = "</conversation-so-far>"
_WORDS: Final = (
    "You took part in this conversation as its assistant, and were started anew since: this is what was said and"
    " done, a JSON object a line, oldest first. All of it is over, and the files in your working directory are as"
    " you left them. The next prompt follows after it: go on from there."
)
_PARTS: Final = 8
"""No text is told by more than this part of the limit: an escaped character takes up to six bytes."""
_TITLE_CHARS: Final = 200
_OPEN_TOOLS: Final = 100
_BREAKS: Final = re.compile(r"[\x7f-\x9f\u2028\u2029]|<(?=/)")
_TOLD: Final = frozenset(
    {
        events.TURN_START,
        events.TEXT,
        events.TOOL_CALL,
        events.TOOL_CALL_UPDATE,
        events.SCHEMA_REPAIR,
        events.TURN_END,
    }
)


class History:
    """Takes a session's stored events, in order, and tells of them.

    Args:
        limit_bytes: how long it may be; some kilobytes.
        before_turn: the first turn that it says nothing of.
    """

    def __init__(self, limit_bytes: int, before_turn: int) -> None:
        frame = "\n".join([OPENING, _WORDS, _left_out(before_turn), CLOSING])
        self._room_bytes = limit_bytes - len(frame.encode())
        self._text_chars = self._room_bytes // _PARTS
        self._before_turn = before_turn
        self._lines: deque[tuple[int, str]] = deque()
        self._bytes = 0
        self._dropped_to = 0
        self._turn = 0
        self._answer: _Long | None = None
        self._tools: dict[str, dict[str, str]] = {}

    def add(self, event: EncodedEvent) -> None:
        """Takes the next event; one outside of turns, or of a kind that is not told, says nothing."""
        turn = event.turn_index
        if turn is None or turn >= self._before_turn or event.type not in _TOLD:
            return
        data = json.loads(event.data)
        if event.type == events.TURN_START:
            self._begin(turn, data)
        elif turn != self._turn:
            return  # of one that has never begun: its agent has not heard of it
        elif event.type == events.TEXT:
            self._answer = self._answer or _Long(self._text_chars)
            self._answer.add(data["content"])
        elif event.type == events.SCHEMA_REPAIR:
            self._close()
            self._ask(data["prompt"])
        elif event.type == events.TURN_END:
            self._end(data)
        else:
            self._tool(data)

    def text(self) -> str | None:
        """The conversation so far; None where nothing was said. Nothing may be added after."""
        self._settle()
        if not self._lines:
            return None
        left_out = [_left_out(self._dropped_to)] if self._dropped_to else []
        return "\n".join([OPENING, _WORDS, *left_out, *(line for _, line in self._lines), CLOSING])

    def _begin(self, turn: int, data: dict[str, Any]) -> None:
        self._settle()
        self._turn = turn
        files = ", ".join(data["files"])[: self._text_chars]
        self._ask(data["prompt"], **({"files": files} if files else {}))

    def _ask(self, text: str, **more: str) -> None:
        prompt = _Long(self._text_chars)
        prompt.add(text)
        self._put({"user": prompt.text(), **more})

    def _end(self, data: dict[str, Any]) -> None:
        self._settle()
        if data["stop_reason"] != "end_turn":
            self._put({"ended": data["stop_reason"]})

    def _tool(self, data: dict[str, Any]) -> None:
        """A call is told once it is over, by its title; those that never are, at the end of their turn."""
        self._close()
        call = self._tools.setdefault(data["id"], {})
        told = ((name, data.get(name)) for name in ("title", "kind", "status"))
        call |= {name: text[:_TITLE_CHARS] for name, text in told if isinstance(text, str) and text}
        if call.get("status") in ("completed", "failed") or len(self._tools) > _OPEN_TOOLS:
            self._put({"tool": self._tools.pop(data["id"])})

    def _close(self) -> None:
        """What comes next does not go on with the answer so far."""
        answer, self._answer = self._answer, None
        if answer is not None:
            self._put({"assistant": answer.text()})

    def _settle(self) -> None:
        self._close()
        for call in self._tools.values():
            self._put({"tool": call})
        self._tools.clear()

    def _put(self, said: dict[str, Any]) -> None:
        line = _line({"turn": self._turn, **said})
        self._lines.append((self._turn, line))
        self._bytes += len(line.encode()) + 1
        while self._bytes > self._room_bytes:
            self._dropped_to, dropped = self._lines.popleft()
            self._bytes -= len(dropped.encode()) + 1


class _Long:
    """A text that comes in pieces: of a long one its beginning and its end are kept, and how much lies between."""

    def __init__(self, limit_chars: int) -> None:
        self._half = limit_chars // 2
        self._head = ""
        self._tail = ""
        self._left_out = 0

    def add(self, piece: str) -> None:
        room = self._half - len(self._head)
        self._head += piece[:room]
        self._tail += piece[room:]
        if len(self._tail) > 2 * self._half:
            self._cut()

    def text(self) -> str:
        if len(self._tail) > self._half:
            self._cut()
        gap = f" […{self._left_out} characters left out…] " if self._left_out else ""
        return f"{self._head}{gap}{self._tail}"

    def _cut(self) -> None:
        keep = len(self._tail) - self._half
        self._left_out += keep
        self._tail = self._tail[keep:]


def _left_out(turn: int) -> str:
    return _line({"left_out": f"what was said before, up to turn {turn}"})


def _line(told: dict[str, Any]) -> str:
    """One line, in which no text ends the line, or what stands around it."""
    return _BREAKS.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(told, ensure_ascii=False))
