"""A turn as a person follows it on a terminal: what is said for good, and what may still change.

Takes events and gives things for rich to print. Must not print itself, nor ask anybody anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.segment import Segment
from rich.text import Text

from clawdforge.cli import patches, terminal
from clawdforge.cli.blocks import Block, Blocks
from clawdforge.cli.markdown import Prose
from clawdforge.cli.summary import args_text, one_line, output_text, tool_line
from clawdforge.client import events
from clawdforge.client.events import Event, PlanEntry, ToolDiff, ToolLocation

_THOUGHT_CHARS: Final = 240
_THINKS_CHARS: Final = 60
_RESULT_CHARS: Final = 160
_DIFF_LINES: Final = 40
_ASKED_DIFF_LINES: Final = 400  # of an edit that somebody decides about
_LIVE_TOOLS: Final = 5
_LIVE_PLAN: Final = 8
_MARKS: Final = {"completed": ("✓", "green"), "failed": ("✗", "red"), "in_progress": ("●", "yellow")}
_OVER: Final = ("completed", "failed")


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool call in its last known state, with the fields of its events."""

    title: str
    kind: str
    status: str
    args: Any
    result: Any
    locations: tuple[ToolLocation, ...]
    diffs: tuple[ToolDiff, ...]
    shown: frozenset[ToolDiff] = field(default=frozenset())  # the edits that were shown already


class Narration:
    """What one turn comes to, event by event.

    Args:
        cwd: the workspace as the agent sees it: paths below are told without it.
    """

    def __init__(self, cwd: str | None = None) -> None:
        self._cwd = cwd
        self._said: list[RenderableType] = []
        self._last_kind = ""
        self._blocks = Blocks()
        self._message_id: str | None = None
        self._thought = ""  # its beginning, which is told
        self._thinks = ""  # its end, which is seen while it goes on
        self._tools: dict[str, Tool] = {}
        self._plan: tuple[PlanEntry, ...] = ()
        self._told_why = False

    def take(self, event: Event) -> None:
        """The turn goes on with this event."""
        match event:
            case events.TextEvent():
                self._end_thought()
                if event.message_id != self._message_id:
                    self._end_text()
                self._message_id = event.message_id
                self._say_blocks(self._blocks.add(event.content))
            case events.ThinkingEvent():
                self._end_text()
                self._thought = (self._thought + event.content)[: 4 * _THOUGHT_CHARS]
                self._thinks = (self._thinks + event.content)[-_THINKS_CHARS:]
            case events.ToolCallEvent():
                self._end_words()
                title = event.title or event.name
                self._tools[event.id] = Tool(
                    title, event.kind, event.status, event.args, event.result, event.locations, event.diffs
                )
                self._see_end_of_tool(event.id)
            case events.ToolCallUpdateEvent() if event.id in self._tools:
                names = ("title", "kind", "status", "args", "result", "locations", "diffs")
                changed = {name: value for name in names if (value := getattr(event, name)) is not None}
                self._tools[event.id] = replace(self._tools[event.id], **changed)
                self._see_end_of_tool(event.id)
            case events.PlanEvent():
                self._plan = event.entries
            case events.PermissionRequestEvent():
                self._end_words()
            case events.PermissionAnswerEvent():
                self._answered(event)
            case events.AgentStartEvent(how="replayed"):
                self.note("The agent was started anew, and told what was said before.")
            case events.ModeEvent():
                self.note(f"The agent is in mode {event.mode} now.")
            case events.ErrorEvent():
                self._end_words()
                self._told_why = True
                self._say("error", Text(one_line(terminal.printable(f"✗ {event.code}: {event.detail}")), "red"))
            case events.TurnEndEvent():
                self.finish()
                if event.stop_reason != "end_turn" and not self._told_why:
                    self.note(f"({event.stop_reason})")
                elif not event.ok and not self._told_why:
                    self.note("(no answer)")

    def ask(self, request: events.PermissionRequestEvent) -> str:
        """What a request is about, in one line; all else that somebody must see who decides is said ahead of it.

        That is the edits of its tool call, or what it is given, where that is known.
        """
        call_id = request.tool_call_id or ""
        self._show_edits(call_id, _ASKED_DIFF_LINES)
        tool = self._tools.get(call_id)
        if tool is not None and not tool.diffs and (args := args_text(tool.args, tool.title)):
            self._say("tool", Text(f"  {one_line(terminal.printable(args))}", "dim"))
        locations = () if tool is None else tool.locations
        return tool_line(request.kind, request.title or (tool.title if tool else ""), locations, self._cwd)

    def note(self, text: str) -> None:
        """A remark, dimmed."""
        self._end_words()
        self._say("note", Text(terminal.printable(text), "dim"))

    def finish(self) -> None:
        """Nothing comes after: what may still have changed is said as it stands."""
        self._end_words()
        for call_id in list(self._tools):
            self._end_tool(call_id)
        if self._plan:
            self._say("plan", _plan_text(self._plan))
            self._plan = ()

    def drain(self) -> list[RenderableType]:
        """What is to be printed for good since the last time."""
        said, self._said = self._said, []
        return said

    def live(self, lines: int) -> RenderableType:
        """What may still change, in at most so many lines."""
        below: list[RenderableType] = [_tool_text(each, self._cwd) for each in self._running()]
        if self._plan:
            below.append(_plan_text(self._plan, _LIVE_PLAN))
        if self._thought:
            below.append(Text(f"… {one_line(terminal.printable(self._thinks))}", "dim italic", no_wrap=True))
        above = [] if self._blocks.empty else [_Tail(self._blocks.tail.text)]
        return Last(Group(*above, *below), lines)

    def _running(self) -> list[Tool]:
        return list(self._tools.values())[-_LIVE_TOOLS:]

    def _say_blocks(self, blocks: Iterable[Block]) -> None:
        for block in blocks:
            self._say("text", Prose(block.text), apart=block.apart)

    def _end_words(self) -> None:
        self._end_text()
        self._end_thought()

    def _end_text(self) -> None:
        if not self._blocks.empty:
            self._say_blocks(self._blocks.finish())
            self._blocks = Blocks()

    def _end_thought(self) -> None:
        if self._thought:
            thought = one_line(terminal.printable(self._thought)).replace("**", "")
            self._thought = self._thinks = ""
            self._say("thought", Text(_clipped(thought, _THOUGHT_CHARS), "dim italic"))

    def _see_end_of_tool(self, call_id: str) -> None:
        if self._tools[call_id].status in _OVER:
            self._end_tool(call_id)

    def _end_tool(self, call_id: str) -> None:
        self._end_words()
        tool = self._tools[call_id]
        self._say("tool", _tool_text(tool, self._cwd))
        if (result := output_text(tool.result)) and (not tool.diffs or tool.status == "failed"):
            text = terminal.printable(one_line(result.replace(f"{self._cwd}/", "") if self._cwd else result))
            self._say("tool", Text(_clipped(f"  ⎿ {text}", _RESULT_CHARS), "dim"))
        self._show_edits(call_id)
        del self._tools[call_id]

    def _show_edits(self, call_id: str, limit: int = _DIFF_LINES) -> None:
        """The edits of a tool call, unless they were shown when it was asked for."""
        tool = self._tools.get(call_id)
        if tool is None:
            return
        for diff in tool.diffs:
            if diff not in tool.shown:
                path = diff.path.removeprefix(f"{self._cwd}/") if self._cwd else diff.path
                self._say("tool", patches.edit(diff, path, limit))
        self._tools[call_id] = replace(tool, shown=frozenset(tool.diffs))

    def _answered(self, event: events.PermissionAnswerEvent) -> None:
        """Only what was not allowed is told, and why: what was allowed is seen to be done."""
        if not event.decision.startswith("allow"):
            why = event.reason or event.by
            self._say("tool", Text(one_line(terminal.printable(f"✗ not allowed ({why})")), "yellow"))

    def _say(self, kind: str, thing: RenderableType, *, apart: bool = False) -> None:
        if self._last_kind and (kind != self._last_kind or apart):
            self._said.append(Text())
        self._last_kind = kind
        self._said.append(thing)


class Last:
    """The last lines of something."""

    def __init__(self, thing: RenderableType, lines: int) -> None:
        self._thing = thing
        self._lines = lines

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        rendered = console.render_lines(self._thing, options.update(height=None), pad=False)
        for line in rendered[-self._lines :] if self._lines > 0 else []:
            yield from line
            yield Segment.line()


class _Tail:
    """A block that is not complete. Drawn again and again, so of a long one only as much as can be seen."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        seen = options.max_width * console.height
        if len(self._text) <= seen:
            yield Prose(self._text)
        else:
            yield Text(terminal.printable(self._text[-seen:]))


def _tool_text(tool: Tool, cwd: str | None) -> Text:
    mark, colour = _MARKS.get(tool.status, ("○", "yellow"))
    line = terminal.printable(tool_line(tool.kind, tool.title, tool.locations, cwd))
    return Text.assemble((mark, colour), " ", (_clipped(line, _RESULT_CHARS), "bold"), overflow="ellipsis")


def _plan_text(entries: tuple[PlanEntry, ...], limit: int | None = None) -> Text:
    """A checklist; of a long one, with `limit`, the part that is worked on."""
    first = 0
    if limit is not None and len(entries) > limit:
        done = next((number for number, each in enumerate(entries) if each.status != "completed"), 0)
        first = min(max(0, done - 1), len(entries) - limit)
    return Text("\n").join(_steps(entries[first : None if limit is None else first + limit]))


def _steps(entries: Iterable[PlanEntry]) -> Iterator[Text]:
    boxes = {"completed": ("☒ ", "dim strike"), "in_progress": ("◐ ", "bold")}
    for entry in entries:
        box, style = boxes.get(entry.status, ("☐ ", ""))
        yield Text.assemble(box, (one_line(terminal.printable(entry.content)), style))


def _clipped(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
