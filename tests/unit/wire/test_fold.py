"""Folding: nothing that was said is lost, everything stands where it began."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from clawdforge.wire.events import Event
from clawdforge.wire.fold import Fold

WORDS = st.text(min_size=1, max_size=3)
IDS = st.sampled_from("abc")
DRAFTS = st.lists(
    st.one_of(
        st.tuples(st.just("text"), st.fixed_dictionaries({"content": WORDS}, optional={"message_id": IDS})),
        st.tuples(st.just("thinking"), st.fixed_dictionaries({"content": WORDS}, optional={"message_id": IDS})),
        st.tuples(st.just("tool_call"), st.fixed_dictionaries({"id": IDS, "title": WORDS, "name": WORDS})),
        st.tuples(st.just("tool_call_update"), st.fixed_dictionaries({"id": IDS, "status": WORDS})),
        st.tuples(st.just("plan"), st.fixed_dictionaries({"entries": st.lists(WORDS)})),
        st.tuples(st.just("permission_request"), st.fixed_dictionaries({"permission_id": IDS})),
        st.tuples(st.just("permission_answer"), st.fixed_dictionaries({"permission_id": IDS})),
        st.tuples(st.sampled_from(["usage", "mode", "commands", "other", "turn_start"]), st.just({"x": 1})),
    ),
    max_size=30,
)


def events(*drafts: tuple[str, dict[str, Any]]) -> list[Event]:
    return [Event(seq, type_, 1, 1000 + seq, data) for seq, (type_, data) in enumerate(drafts, start=1)]


def folded(*drafts: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
    fold = Fold()
    for event in events(*drafts):
        fold.add(event)
    return fold.result()


def said(told: list[dict[str, Any]] | list[tuple[str, dict[str, Any]]], type_: str) -> str:
    pairs = [(each["type"], each) if isinstance(each, dict) else each for each in told]
    return "".join(data["content"] for kind, data in pairs if kind == type_)


def test_nothing_folds_to_nothing() -> None:
    fold = Fold()
    assert (fold.result(), fold.text(), fold.tool_calls) == ([], "", 0)


def test_adjacent_text_of_one_message_is_one_event_with_the_seq_of_its_last_part() -> None:
    parts = [("text", {"content": word, "message_id": "m"}) for word in ("a", "b", "c")]
    [one] = folded(*parts)
    assert one == {"seq": 3, "type": "text", "turn_index": 1, "ts": 1003, "content": "abc", "message_id": "m"}


def test_text_of_another_message_or_after_something_else_begins_anew() -> None:
    found = folded(
        ("text", {"content": "a", "message_id": "m"}),
        ("text", {"content": "b", "message_id": "n"}),
        ("thinking", {"content": "t", "message_id": "n"}),
        ("text", {"content": "c", "message_id": "n"}),
        ("text", {"content": "d"}),
    )
    assert [(each["type"], each["content"]) for each in found] == [
        ("text", "a"),
        ("text", "b"),
        ("thinking", "t"),
        ("text", "c"),
        ("text", "d"),
    ]


def test_where_a_result_was_asked_for_again_is_kept_and_parts_what_was_said() -> None:
    again = ("schema_repair", {"errors": ["e"], "prompt": "p"})
    found = folded(("text", {"content": "a"}), again, ("text", {"content": "b"}))
    assert [each["type"] for each in found] == ["text", "schema_repair", "text"]
    assert (found[1]["errors"], found[1]["prompt"]) == (["e"], "p")


def test_what_is_left_out_does_not_part_a_text() -> None:
    [one] = folded(("text", {"content": "a"}), ("usage", {"used": 1}), ("text", {"content": "b"}))
    assert one["content"] == "ab"


def test_a_tool_call_stands_once_at_its_first_place_in_its_last_state() -> None:
    tool, text = folded(
        ("tool_call", {"id": "1", "name": "read", "status": "pending", "args": {"a": 1}, "result": None}),
        ("text", {"content": "meanwhile"}),
        ("tool_call_update", {"id": "1", "status": "completed", "result": "done"}),
    )
    assert (tool["type"], tool["status"], tool["args"], tool["result"]) == (
        "tool_call",
        "completed",
        {"a": 1},
        "done",
    )
    assert (tool["seq"], text["seq"]) == (3, 2)


def test_an_update_of_a_call_that_never_began_is_the_call() -> None:
    [tool] = folded(("tool_call_update", {"id": "1", "status": "completed"}))
    assert (tool["type"], tool["name"], tool["args"], tool["result"]) == ("tool_call", None, None, None)


def test_a_plan_stands_once_in_its_last_state() -> None:
    [plan, text] = folded(
        ("plan", {"entries": ["a"]}), ("text", {"content": "x"}), ("plan", {"entries": ["a", "b"]})
    )
    assert (plan["entries"], plan["seq"], text["content"]) == (["a", "b"], 3, "x")


def test_looking_at_the_result_in_between_changes_nothing() -> None:
    fold = Fold()
    for event in events(*[("text", {"content": word}) for word in "abcd"]):
        fold.add(event)
        fold.result().clear()
    assert fold.text() == "abcd"
    fold.result()[0]["content"] = "changed"
    assert fold.text() == "abcd"


@given(DRAFTS)
def test_no_text_and_no_thought_is_lost_or_changes_its_order(drafts: list[tuple[str, dict[str, Any]]]) -> None:
    found = folded(*drafts)
    for type_ in ("text", "thinking"):
        assert said(found, type_) == said(drafts, type_)


@given(DRAFTS)
def test_every_tool_call_is_there_once_with_its_last_state(drafts: list[tuple[str, dict[str, Any]]]) -> None:
    calls = {each["id"]: each for each in folded(*drafts) if each["type"] == "tool_call"}
    told: dict[str, dict[str, Any]] = {}
    for type_, data in drafts:
        if type_ in ("tool_call", "tool_call_update"):
            told.setdefault(data["id"], {}).update(data)
    assert set(calls) == set(told)
    for call_id, state in told.items():
        assert {name: calls[call_id][name] for name in state} == state


@given(DRAFTS)
def test_what_is_kept_stands_in_the_order_of_its_first_parts(drafts: list[tuple[str, dict[str, Any]]]) -> None:
    found = folded(*drafts)
    assert len({each["seq"] for each in found}) == len(found)
    streamed = [each["seq"] for each in found if each["type"] in ("text", "thinking")]
    assert streamed == sorted(streamed)
    kept = [each["permission_id"] for each in found if each["type"].startswith("permission_")]
    assert kept == [data["permission_id"] for type_, data in drafts if type_.startswith("permission_")]
    assert {each["type"] for each in found} <= {
        *("text", "thinking", "tool_call", "plan", "permission_request", "permission_answer")
    }


@given(DRAFTS)
def test_adjacent_folded_texts_are_never_of_one_message(drafts: list[tuple[str, dict[str, Any]]]) -> None:
    found = folded(*drafts)
    for one, next_one in pairwise(found):
        if one["type"] in ("text", "thinking") and one["type"] == next_one["type"]:
            assert one.get("message_id") != next_one.get("message_id")
