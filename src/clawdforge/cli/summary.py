"""An event, or a tool call, in one line of plain text: for lists of what happened, and for what goes on now.

Must not print, and loads nothing: a line is cut and coloured by whoever shows it.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any, Final

from clawdforge.client import events
from clawdforge.client.events import Event, ToolCallUpdateEvent, ToolLocation

_TEXT_CHARS: Final = 2_000
_LOOKED_AT_CHARS: Final = 8_000
# Under these names agents tell what a tool wrote, beside its exit code and the like.
_OUTPUTS: Final = ("output", "stdout", "text", "content", "result", "error", "message")
# Under these names agents tell what decides about a tool call.
_TELLING: Final = ("command", "url")


def summary(event: Event) -> str:
    """What an event tells, as one line of any length; "" where its type says it all."""
    match event:
        case events.TextEvent() | events.ThinkingEvent():
            return one_line(event.content)
        case events.ToolCallEvent():
            said = tool_line(event.kind, event.title or event.name, event.locations)
            return f"{said} ({event.status})"
        case events.ToolCallUpdateEvent():
            return _tool_update(event)
        case events.PlanEvent():
            done = sum(entry.status == "completed" for entry in event.entries)
            steps = "; ".join(entry.content for entry in event.entries)
            return one_line(f"{done}/{len(event.entries)} done: {steps}")
        case events.PermissionRequestEvent():
            return one_line(f"{event.permission_id} {event.kind} {event.title}")
        case events.PermissionAnswerEvent():
            return one_line(f"{event.permission_id} {event.decision} by {event.by}")
        case events.TurnStartEvent() | events.TurnQueuedEvent():
            return one_line(event.prompt)
        case events.TurnEndEvent():
            return f"{event.stop_reason} after {seconds_text(event.duration_ms)}"
        case events.ErrorEvent():
            return one_line(f"{event.code}: {event.detail}")
        case events.AgentStartEvent():
            return one_line(event.how)
        case events.ModeEvent():
            return one_line(event.mode)
        case events.CommandsEvent():
            return one_line(" ".join(f"/{each.get('name')}" for each in event.commands))
        case events.UsageEvent():
            return f"{event.used or 0} of {event.size or 0} tokens of context"
        case events.SessionClosedEvent():
            return one_line(event.reason)
    known = ("seq", "type", "turn_index", "ts")
    return one_line(_json({name: value for name, value in event.data.items() if name not in known}))


def tool_line(kind: str, title: str, locations: tuple[ToolLocation, ...], cwd: str | None = None) -> str:
    """What a tool call does: its kind, its title, and the place that it touches where the title does not name it.

    Args:
        kind, title, locations: of its events.
        cwd: the workspace as the agent sees it: a place below is told without it. A title is never changed: it
            may be a command that somebody is asked about.
    """
    told = title or kind
    parts = [told] if kind in ("other", told) else [kind, told]
    if locations:
        path = locations[0].path.removeprefix(f"{cwd}/") if cwd else locations[0].path
        if path.rpartition("/")[2] not in title:
            parts.append(path)
    return one_line(" ".join(parts))


def output_text(result: Any) -> str:
    """What came of a tool call, as text: what it wrote where its result tells that, else its JSON."""
    if result is None:
        return ""
    if isinstance(result, Mapping):
        texts = [result[name] for name in _OUTPUTS if isinstance(result.get(name), str)]
        if texts:
            return str(texts[0]).strip()
    return result.strip() if isinstance(result, str) else _json(result)


def answer_text(record: Mapping[str, Any]) -> str:
    """What the agent has said in a turn, by the turn's record."""
    told = record.get("events")
    said = [each for each in told if isinstance(each, Mapping)] if isinstance(told, list) else []
    return "".join(str(each.get("content")) for each in said if each.get("type") == "text")


def one_line(text: str) -> str:
    """A text as one line, where runs of spaces and line ends are one space. What is cut ends with `…`."""
    line = " ".join(text[:_LOOKED_AT_CHARS].split())
    if len(text) <= _LOOKED_AT_CHARS and len(line) <= _TEXT_CHARS:
        return line
    return line[: _TEXT_CHARS - 1] + "…"


def args_text(args: Any, title: str) -> str:
    """What a tool was given: its command or address where there is one, else JSON; "" where its title says it."""
    if args is None or args == {}:
        return ""
    if isinstance(args, Mapping):
        for name in _TELLING:
            if said := _words(args.get(name)):
                return "" if said in title else f"{name}: {said}"
    values = args.values() if isinstance(args, Mapping) else [args]
    return "" if all(isinstance(each, str) and each in title for each in values) else _json(args)


def _words(value: Any) -> str:
    """A command, as a shell would take it; "" where this is none."""
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return shlex.join(value)
    return value if isinstance(value, str) else ""


def seconds_text(duration_ms: int) -> str:
    """A duration as a person tells it: `0.4 s`, `12 s`, `3 m 05 s`."""
    seconds = duration_ms / 1000
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} m {rest:02} s" if minutes else f"{rest} s"


def _tool_update(event: ToolCallUpdateEvent) -> str:
    said = [event.title, event.status and f"({event.status})", output_text(event.result)]
    return one_line(f"{event.id} {' '.join(each for each in said if each)}")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
