"""What a gateway tells, as the events that an app reads. Pure.

Tolerant, so that a gateway may be older or newer: a type that this version does not know, or a field of a wrong
type, makes an `UnknownEvent`; fields that are not known stay in `data`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final, NamedTuple

from clawdforge.client.events import (
    AgentStartEvent,
    CommandsEvent,
    ErrorEvent,
    Event,
    ModeEvent,
    OtherEvent,
    PermissionAnswerEvent,
    PermissionRequestEvent,
    PlanEntry,
    PlanEvent,
    SchemaRepairEvent,
    SessionClosedEvent,
    TextEvent,
    ThinkingEvent,
    ToolCallEvent,
    ToolCallUpdateEvent,
    ToolDiff,
    ToolLocation,
    TurnEndEvent,
    TurnQueuedEvent,
    TurnStartEvent,
    UnknownEvent,
    UsageEvent,
)
from clawdforge.errors import ForgeProtocolError
from clawdforge.wire import events as kinds
from clawdforge.wire.permissions import PermissionOption


def read(data: Mapping[str, Any]) -> Event:
    """The event that a JSON object tells of, with the object itself as its `data`.

    Raises:
        ForgeProtocolError: this is no event: it has no integer `seq`, or no `type`.
    """
    seq, type_, turn_index, ts = data.get("seq"), data.get("type"), data.get("turn_index"), data.get("ts", 0)
    if seq.__class__ is not int or type_.__class__ is not str:
        raise ForgeProtocolError("an event came that has no number ('seq') or no type")
    if ts.__class__ is not int or (turn_index is not None and turn_index.__class__ is not int):
        return UnknownEvent(seq, type_, None, 0, data)
    cls = _KNOWN.get(type_)
    if cls is None or (values := _values(_parts(cls), data)) is None:
        return UnknownEvent(seq, type_, turn_index, ts, data)
    made: Event = cls(seq, type_, turn_index, ts, data, *values)
    return made


_WRONG: Final = object()


class _Part(NamedTuple):
    """How a field is read. `neutral` stands for what is missing or null; `_WRONG` where it must be there."""

    name: str
    neutral: Any
    allowed: type | None  # None: any JSON value
    convert: Callable[[Any], Any] | None


def _values(parts: tuple[_Part, ...], data: Mapping[str, Any]) -> list[Any] | None:
    """What an object holds for these fields; None where something does not fit."""
    values = []
    for name, neutral, allowed, convert in parts:
        value = data.get(name)
        if value is None:
            value = neutral
        elif allowed is not None and value.__class__ is not allowed:
            return None
        elif convert is not None:
            value = convert(value)
        if value is _WRONG:  # it is missing
            return None
        values.append(value)
    return values


@cache
def _parts(cls: type[Any]) -> tuple[_Part, ...]:
    """How the fields of a class are read, those of every event aside."""
    parts = []
    for each in dataclasses.fields(cls):
        if each.name not in Event.__match_args__:
            neutral = _WRONG if each.default is dataclasses.MISSING else each.default
            parts.append(_Part(each.name, neutral, *_RULES[str(each.type).removesuffix(" | None")]))
    return tuple(parts)


def _each(cls: Any) -> Callable[[list[Any]], tuple[Any, ...]]:
    """Reads a list of objects as values of a class, and leaves out those of another shape."""

    def convert(items: list[Any]) -> tuple[Any, ...]:
        read = [_values(_parts(cls), each) for each in items if each.__class__ is dict]
        return tuple(cls(*values) for values in read if values is not None)

    return convert


def _only(cls: type) -> Callable[[list[Any]], tuple[Any, ...]]:
    return lambda items: tuple([each for each in items if each.__class__ is cls])


_RULES: Final[Mapping[str, tuple[type | None, Callable[[Any], Any] | None]]] = {
    "Any": (None, None),
    "bool": (bool, None),
    "int": (int, None),
    "str": (str, None),
    "Mapping[str, Any]": (dict, None),
    "tuple[Mapping[str, Any], ...]": (list, _only(dict)),
    "tuple[str, ...]": (list, _only(str)),
    "tuple[PermissionOption, ...]": (list, _each(PermissionOption)),
    "tuple[PlanEntry, ...]": (list, _each(PlanEntry)),
    "tuple[ToolDiff, ...]": (list, _each(ToolDiff)),
    "tuple[ToolLocation, ...]": (list, _each(ToolLocation)),
}
"""How a field is read, by its annotation: evaluating these would cost more than all the rest of this module."""

_KNOWN: Final[Mapping[str, Any]] = {
    kinds.TEXT: TextEvent,
    kinds.THINKING: ThinkingEvent,
    kinds.TOOL_CALL: ToolCallEvent,
    kinds.TOOL_CALL_UPDATE: ToolCallUpdateEvent,
    kinds.PLAN: PlanEvent,
    kinds.PERMISSION_REQUEST: PermissionRequestEvent,
    kinds.PERMISSION_ANSWER: PermissionAnswerEvent,
    kinds.TURN_QUEUED: TurnQueuedEvent,
    kinds.TURN_START: TurnStartEvent,
    kinds.TURN_END: TurnEndEvent,
    kinds.USAGE: UsageEvent,
    kinds.MODE: ModeEvent,
    kinds.COMMANDS: CommandsEvent,
    kinds.AGENT_START: AgentStartEvent,
    kinds.ERROR: ErrorEvent,
    kinds.SCHEMA_REPAIR: SchemaRepairEvent,
    kinds.SESSION_CLOSED: SessionClosedEvent,
    kinds.OTHER: OtherEvent,
}
