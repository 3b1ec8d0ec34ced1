"""Answers, small and large: the same JSON, however it was encoded."""

from __future__ import annotations

import json
from typing import Any

import pytest

from clawdforge.server.http import answers
from clawdforge.server.http.problems import answer_to
from clawdforge.wire.problems import Problem
from clawdforge.wire.runs import RunResult
from clawdforge.wire.turns import TurnResult

SLICE = answers._SLICE_CHARS
TEXTS = [
    "",
    "short",
    'a "quote", a \\ and a line\n\tend\r\x01\x7f' * SLICE,
    "漢字😀ü" * SLICE,
    "x" * SLICE,
    "x" * (SLICE + 1),
    "\\" * (5 * SLICE),
]


def result(*texts: str) -> TurnResult:
    said = [{"seq": seq, "type": "text", "content": text, "message_id": "m"} for seq, text in enumerate(texts, 1)]
    tool = {"seq": 9, "type": "tool_call", "id": "1", "args": {"content": "x"}, "result": None}
    return TurnResult(True, "sess_1", 1, [*said, tool], "end_turn", 5, usage={"input_tokens": 3, "cost_usd": None})


async def told(value: TurnResult | RunResult) -> Any:
    return json.loads((await answers.of_prompt(value)).body)


@pytest.mark.parametrize("text", TEXTS)
async def test_a_large_answer_says_what_the_small_one_does(text: str) -> None:
    value = result(text)
    large = json.loads(answers._large(answers.codec.to_json(value)))
    assert large == await told(value) == json.loads(answers.of(value).body)


async def test_all_texts_stand_in_their_order_with_what_else_there_is() -> None:
    value = result(*TEXTS)
    answer = await answers.of_prompt(value, [(b"x-more", b"1")])
    assert json.loads(answer.body) == json.loads(answers.of(value).body)
    assert (b"x-more", b"1") in answer.headers


@pytest.mark.parametrize("text", TEXTS)
async def test_a_failed_prompt_tells_what_was_seen_large_or_small(text: str) -> None:
    problem = Problem("timeout", "too late", turn_index=1, events=result(text).events)
    answer = await answers.of_failed_prompt(problem, "req_1", [(b"x-more", b"1")])
    assert json.loads(answer.body) == json.loads(answer_to(problem, "req_1").body)
    assert (answer.status, (b"x-more", b"1") in answer.headers) == (504, True)
    assert (b"content-length", str(len(answer.body)).encode()) in answer.headers


async def test_a_runs_answer_is_its_result() -> None:
    value = RunResult(True, {"a": 1}, 5, "end_turn")
    assert (await told(value))["result"] == {"a": 1}
