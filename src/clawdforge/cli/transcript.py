"""A session as a document: what was asked, said and done. Pure: takes events, gives pieces of text.

Nothing is held but the turns that have not ended.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from clawdforge.cli import terminal
from clawdforge.cli.diffs import edit_lines
from clawdforge.cli.summary import one_line, output_text, seconds_text, tool_line
from clawdforge.client import events, telling
from clawdforge.client.events import Event, ToolCallEvent
from clawdforge.wire.events import Event as WireEvent
from clawdforge.wire.fold import Fold

_RESULT_CHARS: Final = 2_000
_MARKS: Final = {"completed": "✓", "failed": "✗"}
_BACKTICKS: Final = re.compile(r"`{3,}")
_PLACE: Final = ("seq", "type", "turn_index", "ts")


def as_json(state: Mapping[str, Any], happened: Iterable[Event]) -> Iterator[str]:
    """One JSON document, `{"ok", "session", "events"}`: the record and the events as the gateway sent them.

    Of a run the record is called `run`.
    """
    yield f'{{"ok": true, "{_what(state)}": {json.dumps(state)}, "events": ['
    comma = "\n"
    for event in happened:
        yield comma + json.dumps(dict(event.data))
        comma = ",\n"
    yield "\n]}\n"


def as_markdown(state: Mapping[str, Any], happened: Iterable[Event]) -> Iterator[str]:
    """Headings for the turns, prompts as quotes, answers as they are, and what was done, with its diffs."""
    what = _what(state)
    yield f"# {what.title()} {state.get(f'{what}_id')}\n\n"
    yield f"Agent {state.get('agent')}, opened {terminal.time_text(state.get('created_at'))}.\n"
    cwd = state.get("agent_cwd")
    for turn_index, told in _turns(happened):
        yield from _turn(turn_index, told, cwd if isinstance(cwd, str) else None)


def _what(state: Mapping[str, Any]) -> str:
    return "run" if "run_id" in state else "session"


def _turns(happened: Iterable[Event]) -> Iterator[tuple[int, list[Event]]]:
    """The events of each turn, as it ends; then those of the ones that have not."""
    going_on: dict[int, list[Event]] = {}
    for event in happened:
        if event.turn_index is None:
            continue
        going_on.setdefault(event.turn_index, []).append(event)
        if isinstance(event, events.TurnEndEvent):
            yield event.turn_index, going_on.pop(event.turn_index)
    yield from sorted(going_on.items())


def _turn(turn_index: int, told: list[Event], cwd: str | None) -> Iterator[str]:
    fold = Fold()
    for event in told:
        # Those that cannot be read as what they say they are cannot be folded.
        if not isinstance(event, events.UnknownEvent):
            fold.add(_wire_event(event))
    yield f"\n## Turn {turn_index}\n"
    for event in told:
        if isinstance(event, events.TurnStartEvent):
            yield f"\n{_quoted(event.prompt)}\n"
            if event.files:
                yield f"\nFiles: {', '.join(event.files)}\n"
    for folded in map(telling.read, fold.result()):
        yield from _event(folded, cwd)
    for event in told:
        if isinstance(event, events.ErrorEvent):
            yield f"\n**{event.code}**: {one_line(event.detail)}\n"
        elif isinstance(event, events.TurnEndEvent):
            yield f"\n*{event.stop_reason} after {seconds_text(event.duration_ms)}*\n"


def _event(event: Event, cwd: str | None) -> Iterator[str]:
    match event:
        case events.TextEvent():
            yield f"\n{event.content.strip()}\n"
        case events.ThinkingEvent():
            yield f"\n*Thinking:* {one_line(event.content)}\n"
        case events.ToolCallEvent():
            yield from _tool(event, cwd)
        case events.PlanEvent():
            yield "\n"
            for entry in event.entries:
                yield f"- [{'x' if entry.status == 'completed' else ' '}] {one_line(entry.content)}\n"
        case events.PermissionAnswerEvent():
            yield f"\n*Permission: {event.decision}, by {event.by}*\n"


def _tool(event: ToolCallEvent, cwd: str | None) -> Iterator[str]:
    line = tool_line(event.kind, event.title or event.name, event.locations, cwd)
    yield f"\n- {_MARKS.get(event.status, '…')} {line}\n"
    for diff in event.diffs:
        path = diff.path.removeprefix(f"{cwd}/") if cwd else diff.path
        yield _fenced("diff", "\n".join(edit_lines(diff, path)))
    if not event.diffs and (result := output_text(event.result)):
        cut = "…" if len(result) > _RESULT_CHARS else ""
        yield _fenced("", result[:_RESULT_CHARS] + cut)


def _fenced(language: str, text: str) -> str:
    """A fence that no line of the text can end."""
    fence = max(["```", *(f"{each}`" for each in _BACKTICKS.findall(text))], key=len)
    return f"\n{fence}{language}\n{text}\n{fence}\n"


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in text.split("\n"))


def _wire_event(event: Event) -> WireEvent:
    data = {name: value for name, value in event.data.items() if name not in _PLACE}
    return WireEvent(event.seq, event.type, event.turn_index, event.ts, data)
