"""Events as a reader of a stream meets them: a class for each type of `docs/api.md`.

    match event:
        case TextEvent(content=text):
            print(text, end="")
        case ToolCallEvent(name=name, status=status):
            print(name, status)

Values alone: `telling` makes them of JSON. To be loaded by whoever follows a stream, and not with `Forge`: so many
dataclasses take milliseconds to make.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from clawdforge.wire.permissions import PermissionOption


@dataclass(frozen=True, slots=True, eq=False)
class Event:
    """Something that happened in a session. Two events are equal if they are of one class and all fields are.

    Attributes:
        seq: its place in the session's log, contiguous from 1; `after=` takes it to go on behind it.
        type: its type as the gateway names it (`text`, `tool_call`, …).
        turn_index: the turn that it belongs to, counted from 1; None outside turns.
        ts: when it happened by the gateway's clock, epoch milliseconds; 0 where that was not told.
        data: the whole JSON object as it came, these fields included. It is shared: change a copy.
    """

    seq: int
    type: str
    turn_index: int | None
    ts: int
    data: Mapping[str, Any] = field(repr=False)

    def __eq__(self, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__match_args__)

    def __hash__(self) -> int:
        return hash((self.seq, self.type, self.turn_index, self.ts))  # what else it holds may be a dict


@dataclass(frozen=True, slots=True, eq=False)
class UnknownEvent(Event):
    """An event of a type that this version does not know, or with a field of a wrong type: see `data`."""

    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class TextEvent(Event):
    """A piece of the answer. What a person reads is all of them, joined.

    Attributes:
        content: the piece, never empty, cut anywhere.
        message_id: the agent's own name for the message that it belongs to, where it has one.
    """

    content: str
    message_id: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ThinkingEvent(Event):
    """A piece of what the agent thinks aloud; fields as in `TextEvent`."""

    content: str
    message_id: str | None = None


@dataclass(frozen=True, slots=True)
class ToolLocation:
    """A place that a tool call touches: `path` as the agent sees it, `line` counted as the agent does."""

    path: str
    line: int | None = None


@dataclass(frozen=True, slots=True)
class ToolDiff:
    """A file that a tool call edits: `path` as the agent sees it; `old_text` is None where the file is new."""

    path: str
    old_text: str | None = None
    new_text: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class ToolCallEvent(Event):
    """The agent uses a tool. How it goes on is told by `ToolCallUpdateEvent`s of the same `id`.

    Attributes:
        id: the agent's own name for this call, unique in its turn.
        name: the tool's name where the agent tells one, else its kind.
        title: what a person would call it, such as the command that is run.
        kind: read, edit, delete, move, search, execute, think, fetch, switch_mode or other.
        status: pending, in_progress, completed or failed.
        args: what the tool was given, any JSON value; None where it is not told.
        result: what came of it, any JSON value; None until then.
        locations: the places that it touches; one of another shape stands in `data` alone.
        diffs: the files that it edits; one of another shape stands in `data` alone.
    """

    id: str
    name: str = ""
    title: str = ""
    kind: str = "other"
    status: str = "pending"
    args: Any = None
    result: Any = None
    locations: tuple[ToolLocation, ...] = ()
    diffs: tuple[ToolDiff, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class ToolCallUpdateEvent(Event):
    """What has changed of the tool call `id`; fields as in `ToolCallEvent`, None where nothing has."""

    id: str
    name: str | None = None
    title: str | None = None
    kind: str | None = None
    status: str | None = None
    args: Any = None
    result: Any = None
    locations: tuple[ToolLocation, ...] | None = None
    diffs: tuple[ToolDiff, ...] | None = None


@dataclass(frozen=True, slots=True)
class PlanEntry:
    """A step of a plan. `status` is pending, in_progress or completed; `priority` high, medium or low."""

    content: str
    status: str = "pending"
    priority: str = "medium"


@dataclass(frozen=True, slots=True, eq=False)
class PlanEvent(Event):
    """What the agent means to do; it takes the place of the turn's plan before."""

    entries: tuple[PlanEntry, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class PermissionRequestEvent(Event):
    """The agent asks whether it may use a tool. Its `PermissionAnswerEvent` tells what it was answered.

    Attributes:
        permission_id: names the request when it is answered.
        title: what the tool would do, for a person; "" where the agent does not tell.
        kind: the tool's kind, as in `ToolCallEvent`.
        tool_call_id: the `id` of the tool call, whose event stands ahead of this one; or None.
        options: the answers that the agent offers.
        expires_at: when it is rejected if nobody has answered, epoch milliseconds; None where it is answered
            already, by the session's policy.
    """

    permission_id: str
    title: str = ""
    kind: str = "other"
    tool_call_id: str | None = None
    options: tuple[PermissionOption, ...] = ()
    expires_at: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class PermissionAnswerEvent(Event):
    """What a permission request came to.

    Attributes:
        permission_id: that of the request.
        decision: allow, allow_always, reject, reject_always, other or cancelled.
        option_id: the option that was chosen, None where none was.
        by: `policy:NAME`, `app:NAME`, `expiry`, `cancel` or `interrupted`.
        reason: why it was rejected at once, where it was.
    """

    permission_id: str
    decision: str
    option_id: str | None = None
    by: str = ""
    reason: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class TurnQueuedEvent(Event):
    """A prompt waits for the turns before it."""

    prompt: str


@dataclass(frozen=True, slots=True, eq=False)
class TurnStartEvent(Event):
    """A turn begins. `files` are the names of what was laid into the workspace for it."""

    prompt: str
    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class TurnEndEvent(Event):
    """A turn has ended, and this is its last event.

    Attributes:
        stop_reason: how, by the table of ends in `docs/api.md`.
        ok: whether there is an answer.
        duration_ms: how long it took.
        usage: the fields of `wire.usage.Usage`.
    """

    stop_reason: str
    ok: bool
    duration_ms: int
    usage: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class UsageEvent(Event):
    """How full the agent's context is.

    `used` and `size`: the tokens that are in it, and those that it has room for. `cost`: of the whole session so
    far, `{"amount", "currency"}`, in the agent's own words.
    """

    used: int | None = None
    size: int | None = None
    cost: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ModeEvent(Event):
    """The agent has changed its mode, to this one of its own."""

    mode: str


@dataclass(frozen=True, slots=True, eq=False)
class CommandsEvent(Event):
    """The commands that the agent takes in a prompt: `{"name", "description", …}`, in the agent's own words."""

    commands: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class AgentStartEvent(Event):
    """The session's agent was started.

    `how`: `new`; `native`, where it goes on with what it kept itself; `replayed`, where it was told of it.
    `sandbox`: the level of the wall around it.
    """

    how: str
    sandbox: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ErrorEvent(Event):
    """Why a turn failed: `code` and `detail` as in an error's body; `limit` of the session that was passed."""

    code: str
    detail: str = ""
    limit: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class SchemaRepairEvent(Event):
    """The result does not fit its schema, and the gateway asks the agent for it again, once.

    What comes after it takes the place of what was said before. `errors`: what was wrong; `prompt`: what is asked.
    """

    prompt: str
    errors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class SessionClosedEvent(Event):
    """The session is closed, and this is its last event."""

    reason: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class OtherEvent(Event):
    """What the agent told of a kind that the gateway does not know: `acp` is its message, whole."""

    acp: Mapping[str, Any]
