"""Events as a reader of a stream meets them."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawdforge.client import telling
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
from clawdforge.wire import events as wire
from clawdforge.wire.permissions import PermissionOption

GOLDEN = Path(__file__).parents[2] / "golden"
USAGE = {"input_tokens": 3, "output_tokens": 4, "source": "agent"}

# Of each type: what the gateway sends, and what a reader finds. The first field is the one that must be there.
KINDS: list[tuple[type[Event], str, dict[str, Any], dict[str, Any]]] = [
    (TextEvent, "text", {"content": "hé", "message_id": "m"}, {}),
    (ThinkingEvent, "thinking", {"content": "hm"}, {"message_id": None}),
    (
        ToolCallEvent,
        "tool_call",
        {
            "id": "t1",
            "name": "Edit",
            "title": "Edit a",
            "kind": "edit",
            "status": "pending",
            "args": {"path": "a"},
            "result": [1, None],
            "locations": [{"path": "/workspace/a", "line": 3}, {"path": "b"}, {"line": 1}, "c"],
            "diffs": [{"path": "a", "old_text": None, "new_text": "x"}, {"path": None}],
        },
        {
            "locations": (ToolLocation("/workspace/a", 3), ToolLocation("b")),
            "diffs": (ToolDiff("a", None, "x"),),
        },
    ),
    (
        ToolCallUpdateEvent,
        "tool_call_update",
        {"id": "t1", "status": "completed", "result": "done"},
        {"name": None, "args": None, "locations": None, "diffs": None},
    ),
    (
        PlanEvent,
        "plan",
        {"entries": [{"content": "look", "status": "completed", "priority": "high"}, {"content": "do"}, {}]},
        {"entries": (PlanEntry("look", "completed", "high"), PlanEntry("do"))},
    ),
    (
        PermissionRequestEvent,
        "permission_request",
        {
            "permission_id": "p",
            "tool_call_id": "t1",
            "title": "rm -r a",
            "kind": "execute",
            "options": [{"option_id": "1", "name": "Yes", "kind": "allow_once"}, {"option_id": "2"}],
            "expires_at": 1_763_870_000_000,
        },
        {"options": (PermissionOption("1", "Yes", "allow_once"),)},
    ),
    (
        PermissionAnswerEvent,
        "permission_answer",
        {"permission_id": "p", "decision": "allow", "option_id": "1", "by": "app:a"},
        {"reason": None},
    ),
    (TurnQueuedEvent, "turn_queued", {"prompt": "go"}, {}),
    (TurnStartEvent, "turn_start", {"prompt": "go", "files": ["a", 1, "b"]}, {"files": ("a", "b")}),
    (TurnEndEvent, "turn_end", {"stop_reason": "end_turn", "ok": True, "duration_ms": 9, "usage": USAGE}, {}),
    (UsageEvent, "usage", {"used": 10, "size": 200, "cost": {"amount": 0.5, "currency": "USD"}}, {}),
    (ModeEvent, "mode", {"mode": "plan"}, {}),
    (CommandsEvent, "commands", {"commands": [{"name": "init"}]}, {"commands": ({"name": "init"},)}),
    (AgentStartEvent, "agent_start", {"how": "new", "sandbox": "bwrap"}, {}),
    (ErrorEvent, "error", {"code": "timeout", "detail": "too late"}, {"limit": None}),
    (SchemaRepairEvent, "schema_repair", {"prompt": "again", "errors": ["/: no", 1]}, {"errors": ("/: no",)}),
    (SessionClosedEvent, "session_closed", {"reason": "idle"}, {}),
    (OtherEvent, "other", {"acp": {"sessionUpdate": "new"}}, {}),
]
TYPES = [type_ for _, type_, _, _ in KINDS]


def told(type_: str, **fields: Any) -> dict[str, Any]:
    return {"seq": 7, "type": type_, "turn_index": 2, "ts": 1_763_870_000_000, **fields}


def test_there_is_a_class_for_each_type_of_the_wire() -> None:
    names = {value for name, value in vars(wire).items() if name.isupper() and isinstance(value, str)}
    assert names == set(TYPES)


@pytest.mark.parametrize(("cls", "type_", "fields", "found"), KINDS, ids=TYPES)
def test_an_event_has_the_fields_of_its_type(
    cls: type[Event], type_: str, fields: dict[str, Any], found: dict[str, Any]
) -> None:
    data = told(type_, **fields, later="kept")
    event = telling.read(data)

    assert type(event) is cls
    assert event == cls(7, type_, 2, 1_763_870_000_000, data, **{**fields, **found})
    assert event.data is data
    assert dataclasses.is_dataclass(event)
    assert not hasattr(event, "__dict__")
    assert pickle.loads(pickle.dumps(event)) == copy.deepcopy(event) == event
    assert "later" not in repr(event)
    assert len({event, copy.copy(event)}) == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.seq = 8  # type: ignore[misc]  # the point of the test


@pytest.mark.parametrize(("cls", "type_", "fields", "found"), KINDS, ids=TYPES)
def test_a_field_of_a_wrong_type_or_a_missing_one_makes_it_unknown(
    cls: type[Event], type_: str, fields: dict[str, Any], found: dict[str, Any]
) -> None:
    needed = {
        each.name
        for each in dataclasses.fields(cls)[len(dataclasses.fields(Event)) :]
        if each.default is dataclasses.MISSING
    }
    for name in fields.keys() - {"args", "result"}:
        data = told(type_, **{**fields, name: b"no JSON value is this"})
        assert telling.read(data) == UnknownEvent(7, type_, 2, 1_763_870_000_000, data)
    for name in fields:
        for data in ({**told(type_, **fields), name: None}, told(type_, **fields)):
            if data[name] is not None:
                del data[name]
            assert type(telling.read(data)) is (UnknownEvent if name in needed else cls)


def test_a_truth_value_is_no_number() -> None:
    end = told("turn_end", stop_reason="end_turn", ok=True, duration_ms=True)
    assert type(telling.read(end)) is UnknownEvent
    assert type(telling.read({**end, "ok": 1, "duration_ms": 1})) is UnknownEvent


def test_an_event_of_a_later_version_is_kept_whole() -> None:
    data = told("hologram", depth=3)
    event = telling.read(data)
    assert event == UnknownEvent(7, "hologram", 2, 1_763_870_000_000, data)
    assert "'depth': 3" in repr(event)


@pytest.mark.parametrize(
    ("head", "turn_index", "ts"),
    [
        ({}, None, 0),
        ({"turn_index": None, "ts": 5}, None, 5),
        ({"turn_index": 1, "ts": 2**62}, 1, 2**62),
    ],
)
def test_what_is_not_told_of_place_and_time_is_neutral(head: dict[str, Any], turn_index: Any, ts: int) -> None:
    event = telling.read({"seq": 1, "type": "text", "content": "a", **head})
    assert event == TextEvent(1, "text", turn_index, ts, event.data, content="a")


@pytest.mark.parametrize("head", [{"turn_index": "1"}, {"turn_index": True}, {"ts": "now"}, {"ts": None}])
def test_a_place_or_a_time_of_a_wrong_type_makes_it_unknown(head: dict[str, Any]) -> None:
    assert type(telling.read({"seq": 1, "type": "text", "content": "a", **head})) is UnknownEvent


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"seq": 1},
        {"type": "text", "content": "a"},
        {"seq": "1", "type": "text"},
        {"seq": True, "type": "text"},
        {"seq": 1.0, "type": "text"},
        {"seq": 1, "type": 5},
        {"seq": 1, "type": ["text"]},
    ],
)
def test_what_has_no_number_or_no_type_is_no_event(data: dict[str, Any]) -> None:
    with pytest.raises(ForgeProtocolError, match="no number"):
        telling.read(data)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
names = sorted({name for _, _, fields, _ in KINDS for name in fields} | {"turn_index", "ts"})


@given(st.sampled_from(TYPES), st.dictionaries(st.sampled_from(names), json_values, max_size=8))
def test_whatever_an_object_holds_it_is_read(type_: str, fields: dict[str, Any]) -> None:
    data = {"seq": 1, "type": type_, **fields}
    event = telling.read(data)
    assert event.data is data
    assert (event.seq, event.type) == (1, type_)
    again = telling.read(json.loads(json.dumps(data)))
    assert again == event
    assert hash(again) == hash(event)


@pytest.mark.parametrize("answers", sorted(GOLDEN.glob("*.folded.json")), ids=lambda path: path.name)
def test_what_real_agents_told_is_known_and_nothing_of_it_is_left_out(answers: Path) -> None:
    told = [data for turn in json.loads(answers.read_text()) for data in turn["events"]]
    assert told
    for data in told:
        event = telling.read(data)
        assert type(event) is not UnknownEvent
        for name in ("locations", "diffs", "entries", "options"):
            assert len(getattr(event, name, None) or ()) == len(data.get(name) or ())


def test_events_of_different_classes_or_contents_differ() -> None:
    one = telling.read(told("text", content="a"))
    assert one != telling.read(told("thinking", content="a"))
    assert one != telling.read(told("text", content="b"))
    assert one != "a"


def test_events_can_be_matched() -> None:
    match telling.read(told("tool_call", id="t", name="Bash", args={"command": "ls"})):
        case ToolCallEvent(name="Bash", args={"command": command}):
            assert command == "ls"
        case other:
            pytest.fail(f"not matched: {other}")
