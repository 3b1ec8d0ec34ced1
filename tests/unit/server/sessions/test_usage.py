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
    assert usage.of_turn(told, "p" * 400, SEEN) == Usage(
        input_tokens=9, output_tokens=1, total_tokens=10, cost_usd=0.5, source="agent"
    )


def test_where_it_told_no_tokens_four_bytes_of_what_was_said_are_one() -> None:
    assert usage.of_turn(Told(), "p" * 401, SEEN) == Usage(
        input_tokens=101, output_tokens=3, total_tokens=104, cost_usd=None, source="estimate"
    )


def test_an_estimate_knows_the_cost_that_was_told() -> None:
    assert usage.of_turn(Told(cost_usd=0.5), "p", []).cost_usd == 0.5


def test_the_context_that_was_told_is_the_least_that_was_put_in() -> None:
    estimated = usage.of_turn(Told(context_tokens=12_000), "p", SEEN)
    assert (estimated.input_tokens, estimated.output_tokens, estimated.total_tokens) == (11_997, 3, 12_000)
    assert usage.of_turn(Told(context_tokens=2), "p" * 400, SEEN).input_tokens == 100


def test_a_prompt_that_no_agent_was_given_took_nothing() -> None:
    assert usage.of_turn(None, "p" * 400, []) == Usage(source="estimate")
