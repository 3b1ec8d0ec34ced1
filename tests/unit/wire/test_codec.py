"""Wire values to JSON and back: tolerant of what is new, strict about what is there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest

from clawdforge.wire import codec
from clawdforge.wire.bounds import Length
from clawdforge.wire.codec import Malformed, from_json, to_json
from clawdforge.wire.runs import RunResult
from clawdforge.wire.sandbox import Sandbox
from clawdforge.wire.sessions import SessionInfo
from clawdforge.wire.turns import TurnResult


@dataclass(frozen=True, slots=True)
class Sample:
    name: str
    count: int
    ratio: float | None = None
    tags: list[str] = field(default_factory=list)
    anything: Any = None
    hidden: str | None = field(default=None, metadata={"omit_none": True})


@pytest.mark.parametrize(
    "value",
    [
        Sample("a", 1),
        Sample("", 0, 0.5, ["x"], {"deep": [1]}, "shown"),
        Sample("größe 😀", -1, None, [], None, ""),
    ],
    ids=str,
)
def test_a_value_comes_back_as_it_was(value: Sample) -> None:
    assert from_json(Sample, to_json(value)) == value


def test_none_is_told_but_where_it_is_left_out() -> None:
    assert to_json(Sample("a", 1)) == {"name": "a", "count": 1, "ratio": None, "tags": [], "anything": None}


def test_fields_that_are_new_are_ignored() -> None:
    assert from_json(Sample, {"name": "a", "count": 1, "new": {"x": 1}}) == Sample("a", 1)


def test_a_field_that_must_be_there_is_missed_by_its_name() -> None:
    with pytest.raises(Malformed, match="Sample: the field 'count' is missing"):
        from_json(Sample, {"name": "a"})


@pytest.mark.parametrize(
    ("name", "value"),
    [("name", 1), ("count", "1"), ("count", True), ("count", float("inf")), ("tags", "x"), ("tags", {})],
)
def test_a_field_of_a_wrong_type_is_told_by_its_name(name: str, value: Any) -> None:
    with pytest.raises(Malformed, match=f"the field '{name}' is a {type(value).__name__}"):
        from_json(Sample, {"name": "a", "count": 1, name: value})


def test_a_null_where_there_is_none_counts_as_missing() -> None:
    assert from_json(Sample, {"name": "a", "count": 1, "tags": None}) == Sample("a", 1)
    assert from_json(Sample, {"name": None, "count": 1}, {"name": "unknown"}) == Sample("unknown", 1)
    with pytest.raises(Malformed, match="the field 'name' is missing"):
        from_json(Sample, {"name": None, "count": 1})


@pytest.mark.parametrize(("told", "read"), [(12.75, 13), (5.0, 5), (-0.2, 0), (3, 3)])
def test_a_number_with_a_fraction_is_rounded_where_an_integer_belongs(told: float, read: int) -> None:
    count = from_json(Sample, {"name": "a", "count": told}).count
    assert (count, type(count)) == (read, int)


@pytest.mark.parametrize("value", [None, True, 1, "x", [], {}])
def test_where_anything_goes_anything_goes(value: Any) -> None:
    assert from_json(Sample, {"name": "a", "count": 1, "anything": value}).anything == value


def test_annotations_and_literals_are_no_obstacle() -> None:
    @dataclass(frozen=True, slots=True)
    class Bounded:
        name: Annotated[str, Length(1)] = "x"
        word: Literal["a", "b"] | None = None

    bounded = from_json(Bounded, {"name": "y", "word": None})
    assert (bounded.name, bounded.word) == ("y", None)


def test_text_is_compact_utf_8() -> None:
    assert codec.dumps({"a": ["größe", 1, None]}) == '{"a":["größe",1,null]}'.encode()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [float("-inf")]])
def test_what_json_cannot_say_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        codec.dumps(value)


def test_a_result_is_left_out_of_a_turn_that_has_none_and_kept_in_a_run() -> None:
    turn = to_json(TurnResult(True, "sess_1", 1, [], "end_turn", 5))
    assert "result" not in turn
    assert "schema_valid" not in turn
    run = to_json(RunResult(True, None, 5, "end_turn"))
    assert run["result"] is None


@dataclass(frozen=True, slots=True)
class Outer:
    inner: Sample | None = None
    loose: dict[str, Any] = field(default_factory=dict)


def test_a_value_within_a_value_is_read_as_one() -> None:
    told = {"inner": {"name": "a", "count": 1, "new": True}, "loose": {"name": 1}}
    assert from_json(Outer, told) == Outer(Sample("a", 1), {"name": 1})
    assert from_json(Outer, {"inner": None}) == Outer()
    with pytest.raises(Malformed, match="'count'"):
        from_json(Outer, {"inner": {"name": "a"}})


def test_a_session_tells_why_it_was_closed_once_it_is() -> None:
    info = SessionInfo(
        True, "sess_1", "fake", "/w", 1, None, 0, None, True, {}, "app", "/w", Sandbox("none", "open")
    )
    assert "close_reason" not in to_json(info)
    assert to_json(from_json(SessionInfo, {**to_json(info), "close_reason": "idle"}))["close_reason"] == "idle"


def test_a_turn_is_read_with_neutral_values_for_what_is_missing() -> None:
    turn = TurnResult.from_response({"events": [{"type": "text", "content": "a"}, 7, {"type": "text"}], "new": 1})
    assert (turn.ok, turn.turn_index, turn.stop_reason, turn.text()) == (False, 0, "", "a")
    old = TurnResult.from_response({"ok": True, "events": None, "stop_reason": None, "duration_ms": 12.75})
    assert (old.ok, old.events, old.stop_reason, old.duration_ms) == (True, [], "", 13)
    with pytest.raises(Malformed):
        TurnResult.from_response({"events": "none"})
