from __future__ import annotations

from typing import Any

from clawdforge.server.agents.usage import Told
from clawdforge.server.sessions import usage
from clawdforge.wire.usage import Tokens, Usage

SEEN: list[dict[str, Any]] = [
    {"type": "thinking", "content": "hmm"},
    {"type": "tool_call", "result": "not said by the agent"},
    {"type": "text", "content": "Grüße"},
]


def test_what_the_agent_told_is_the_usage() -> None:
    told = Told(Tokens(input_tokens=9, output_tokens=1, total_tokens=10), cost_usd=0.5, context_tokens=1_000)
    assert usage.of_turn([told], "p" * 400, SEEN) == Usage(
        input_tokens=9, output_tokens=1, total_tokens=10, cost_usd=0.5, source="agent"
    )


def test_where_it_told_no_tokens_four_bytes_of_what_was_said_are_one() -> None:
    assert usage.of_turn([Told()], "p" * 401, SEEN) == Usage(
        input_tokens=101, output_tokens=3, total_tokens=104, cost_usd=None, source="estimate"
    )


def test_an_estimate_knows_the_cost_that_was_told() -> None:
    assert usage.of_turn([Told(cost_usd=0.5)], "p", []).cost_usd == 0.5


def test_the_context_that_was_told_is_the_least_that_was_put_in() -> None:
    estimated = usage.of_turn([Told(context_tokens=12_000)], "p", SEEN)
    assert (estimated.input_tokens, estimated.output_tokens, estimated.total_tokens) == (11_997, 3, 12_000)
    assert usage.of_turn([Told(context_tokens=2)], "p" * 400, SEEN).input_tokens == 100


def test_a_prompt_that_no_agent_was_given_took_nothing() -> None:
    assert usage.of_turn([], "p" * 400, []) == Usage(source="estimate")


FIRST = Told(Tokens(input_tokens=9, output_tokens=1, total_tokens=10), cost_usd=0.1, model="small")
SECOND = Told(Tokens(input_tokens=5, output_tokens=2, total_tokens=7), cost_usd=0.2)


def test_of_two_prompts_it_is_the_sum() -> None:
    assert usage.of_turn([FIRST, SECOND], "p", SEEN) == Usage(
        input_tokens=14, output_tokens=3, total_tokens=17, cost_usd=0.3, source="agent"
    )
    assert usage.model_of([FIRST, SECOND]) == "small"
    assert usage.model_of([SECOND]) is None


def test_what_was_told_of_one_of_two_prompts_is_the_least_that_the_turn_took() -> None:
    assert usage.of_turn([FIRST, Told()], "p", SEEN) == Usage(
        input_tokens=9, output_tokens=1, total_tokens=10, cost_usd=0.1, source="estimate"
    )


def test_a_prompt_of_the_gateway_s_own_counts_in_an_estimate() -> None:
    again = {"type": "schema_repair", "prompt": "r" * 400, "errors": []}
    assert usage.of_turn([Told(), Told()], "p" * 400, [*SEEN, again]).input_tokens == 200
