"""Results: the final text, its fence, its JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawdforge.wire.results import final_text, parse, spoken

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


def text(content: str) -> dict[str, Any]:
    return {"type": "text", "content": content}


TOOL: dict[str, Any] = {"type": "tool_call", "id": "1"}
AGAIN: dict[str, Any] = {"type": "schema_repair", "errors": [], "prompt": "again"}


@pytest.mark.parametrize(
    ("folded", "expected"),
    [
        ([], ""),
        ([text("a"), {"type": "thinking", "content": "t"}, text("b")], "ab"),
        ([text("looking"), TOOL, text("the answer")], "the answer"),
        ([text("a"), TOOL, text("b"), TOOL, text("c"), text("d")], "cd"),
        ([text("the answer"), TOOL], "the answer"),
        ([text("one"), TOOL, text("two"), TOOL], "onetwo"),
        ([TOOL], ""),
        ([{"type": "plan", "entries": []}, text("x")], "x"),
        ([text("wrong"), AGAIN, text("right")], "right"),
        ([text("a"), TOOL, text("wrong"), AGAIN, text("b"), TOOL, text("right")], "right"),
        ([TOOL, text("wrong"), AGAIN, text("right"), TOOL], "right"),
        ([text("a"), TOOL, text("said"), AGAIN], "said"),
        ([text("said"), AGAIN, TOOL], "said"),
    ],
    ids=[
        "nothing",
        "no tools",
        "after a tool",
        "after the last tool",
        "before it",
        "between",
        "only tools",
        "plan",
        "asked again",
        "asked again, with tools",
        "asked again, then a tool",
        "asked again in vain",
        "asked again, only a tool",
    ],
)
def test_the_final_text_is_what_comes_after_the_last_tool_call(
    folded: list[dict[str, Any]], expected: str
) -> None:
    assert final_text(folded) == expected


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ('{"a": 1}', {"a": 1}),
        ("  \n[1, 2]\n ", [1, 2]),
        ("null", None),
        ("true", True),
        ('```json\n{"a": 1}\n```', {"a": 1}),
        ('```\n{"a": 1}\n```\n', {"a": 1}),
        ("\n\n~~~json\n[1]\n~~~", [1]),
        ('````json\n{"a": "```"}\n````', {"a": "```"}),
        ("```python\nprint(1)\n```", "print(1)"),
        ("```\n```", ""),
        ("no JSON", "no JSON"),
        ('Here it is:\n```json\n{"a": 1}\n```', 'Here it is:\n```json\n{"a": 1}\n```'),
        ('```json\n{"a": 1}\n```\nDone.', '```json\n{"a": 1}\n```\nDone.'),
        ('{"a": 1} trailing', '{"a": 1} trailing'),
        ("NaN", "NaN"),
        ('{"a": Infinity}', '{"a": Infinity}'),
        ("1e999", "1e999"),
        ('"\\ud800"', '"\\ud800"'),
        ("9" * 5000, "9" * 5000),
        ("[" * 100_000, "[" * 100_000),
        ("", ""),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_result_is_parsed_where_it_is_json_and_stays_text_where_it_is_not(raw: str, value: Any) -> None:
    assert parse(raw) == value


@given(JSON_VALUES)
def test_whatever_is_json_comes_back_fenced_or_not(value: Any) -> None:
    raw = json.dumps(value)
    assert parse(raw) == value
    assert parse(f"```json\n{raw}\n```") == value


@given(st.text())
def test_whatever_it_is_it_can_be_answered_if_it_could_be_stored(raw: str) -> None:
    mended = raw.encode("utf-8", "replace").decode()
    json.dumps(parse(mended), ensure_ascii=False, allow_nan=False).encode()


@pytest.mark.parametrize(
    "answer",
    [
        "```\n" + " " * 200_000 + "x",
        "```\n" + "`" * 200_000,
        "`" * 200_000 + "\n" + "`" * 199_999,
        "~~~\n" + "~~\n" * 100_000 + "~~~ x",
        "```a`b\n1\n```",
        "```\n1\n```\nand\n```\n2\n```",
        "```",
        "```\n",
    ],
    ids=lambda answer: answer[:12],
)
def test_what_is_not_one_enclosing_fence_is_left_as_it_is(answer: str) -> None:
    assert parse(answer) == answer


FENCED = '```json\n{"a": "~~~"}\n```'


def test_a_person_reads_all_text_or_what_came_after_it_was_asked_for_again() -> None:
    assert spoken([text("a"), TOOL, text("b")]) == "ab"
    assert spoken([text("a"), TOOL, text("wrong"), AGAIN, text("r"), TOOL, text("ight")]) == "right"
    assert spoken([text("a"), AGAIN, TOOL]) == "a"
    assert spoken([None, 7, {"type": "text"}, {"type": "text", "content": 7}, text("x")]) == "x"


@pytest.mark.parametrize(
    ("said", "value"),
    [
        (f"Here it is:\n{FENCED}\nDone.", {"a": "~~~"}),
        (f"Here it is:\n\n  {FENCED.replace(chr(10), chr(10) + '  ')}", {"a": "~~~"}),
        ("Look:\n~~~~\n[1]\n~~~~\n", [1]),
        (FENCED, {"a": "~~~"}),
        ("7", 7),
    ],
    ids=["between words", "indented", "waves", "nothing else", "no fence"],
)
def test_amid_words_the_only_fence_holds_the_json(said: str, value: Any) -> None:
    assert parse(said, amid_words=True) == value
    assert parse(said) in (value, said)


@pytest.mark.parametrize(
    "said",
    [
        f"First\n{FENCED}\nthen\n{FENCED}",
        "Open:\n```json\n[1]",
        f"{FENCED}\nOpen:\n```",
        "Code:\n```\nx = 1\n```",
        'Inline {"a": 1} it is',
        "Empty:\n```\n```",
        "Words.",
    ],
    ids=["two", "open", "one and one open", "no JSON", "no fence", "empty", "words"],
)
def test_amid_words_nothing_is_guessed(said: str) -> None:
    assert parse(said, amid_words=True) == said


@given(JSON_VALUES, st.sampled_from(["", "Here:\n", "It is\n\n"]), st.sampled_from(["", "\nDone.", "\n\n"]))
def test_any_json_is_found_amid_words(value: Any, before: str, after: str) -> None:
    said = f"{before}```json\n{json.dumps(value, ensure_ascii=False)}\n```{after}"
    assert parse(said, amid_words=True) == value
