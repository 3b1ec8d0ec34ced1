"""What agents tell of their tokens and costs becomes each prompt's own share, whatever way they count in."""

from __future__ import annotations

from typing import Any

import pytest

from clawdforge.server.agents.usage import Meter, Told
from clawdforge.wire.usage import Tokens

ONE = {"inputTokens": 100, "outputTokens": 20, "cachedReadTokens": 10, "cachedWriteTokens": 5, "totalTokens": 135}
ONE_READ = Tokens(
    input_tokens=100, output_tokens=20, cached_read_tokens=10, cached_write_tokens=5, total_tokens=135
)


def times(number: int) -> dict[str, Any]:
    return {"usage": {name: count * number for name, count in ONE.items()}}


def cost(amount: Any, currency: Any = "USD") -> dict[str, Any]:
    return {"sessionUpdate": "usage_update", "cost": {"amount": amount, "currency": currency}}


def gemini(models: Any, tokens: Any) -> dict[str, Any]:
    return {"_meta": {"quota": {"token_count": tokens, "model_usage": models}}}


def test_an_agent_that_tells_nothing_told_nothing() -> None:
    meter = Meter("prompt")
    meter.answered({"stopReason": "end_turn"})
    assert meter.take() == Told()


def test_tokens_of_a_prompt_are_taken_as_they_are() -> None:
    meter = Meter("prompt")
    for _ in range(2):
        meter.answered(times(1))
        assert meter.take() == Told(tokens=ONE_READ)


def test_of_tokens_of_a_session_each_prompt_gets_its_difference() -> None:
    meter = Meter("session")
    for so_far in (1, 2, 4):
        meter.answered(times(so_far))
        share = meter.take().tokens
        assert share is not None
        assert share.total_tokens == {1: 135, 2: 135, 4: 270}[so_far]
        assert share.input_tokens == {1: 100, 2: 100, 4: 200}[so_far]


def test_a_counter_of_the_session_that_goes_back_was_begun_anew() -> None:
    meter = Meter("session")
    meter.answered(times(5))
    meter.take()
    meter.answered(times(2))
    assert meter.take().tokens == Tokens(
        input_tokens=200, output_tokens=40, cached_read_tokens=20, cached_write_tokens=10, total_tokens=270
    )
    meter.answered(times(3))
    assert meter.take().tokens == ONE_READ


def test_a_prompt_without_tokens_leaves_its_share_to_the_next() -> None:
    meter = Meter("session")
    meter.answered(times(1))
    meter.take()
    meter.answered({"stopReason": "cancelled"})
    assert meter.take().tokens is None
    meter.answered(times(3))
    share = meter.take().tokens
    assert share is not None and share.input_tokens == 200


def test_cost_is_told_for_the_session_and_each_prompt_gets_its_difference() -> None:
    meter = Meter("prompt")
    shares = []
    for so_far in (0.001005, 0.00201, 0.00402, 0.00402):
        meter.update(cost(so_far))
        shares.append(meter.take().cost_usd)
    assert shares == [0.001005, 0.001005, 0.00201, 0.0]
    meter.update(cost(0.0005))
    assert meter.take().cost_usd == 0.0005, "a counter that goes back was begun anew"


def test_of_many_updates_in_a_prompt_the_last_one_counts() -> None:
    meter = Meter("prompt")
    meter.update({"sessionUpdate": "usage_update", "used": 111, "size": 1000})
    meter.update({"sessionUpdate": "usage_update", "used": 130, "cost": {"amount": 0.25, "currency": "USD"}})
    meter.update({"sessionUpdate": "usage_update", "size": 1000})
    assert meter.take() == Told(cost_usd=0.25, context_tokens=130)
    assert meter.take() == Told()


def test_money_that_is_told_between_two_prompts_is_the_later_one_s() -> None:
    meter = Meter("prompt")
    meter.update(cost(0.5))
    meter.take()
    meter.update(cost(0.75))  # claude tells what a cancelled prompt has cost after its answer
    meter.prompted()
    meter.answered(times(1))
    meter.update(cost(1.0))
    assert meter.take().cost_usd == 0.5


def test_how_full_the_context_was_before_a_prompt_is_no_part_of_it() -> None:
    meter = Meter("prompt")
    meter.update({"sessionUpdate": "usage_update", "used": 5_000})
    meter.prompted()
    assert meter.take() == Told()


def test_what_gemini_tells_in_its_own_words() -> None:
    used = [{"model": "gemini-x", "token_count": {}}, {"model": "auto", "token_count": {}}]
    meter = Meter("prompt")
    meter.answered(gemini(used, {"input_tokens": 200, "output_tokens": 40}))
    tokens = Tokens(input_tokens=200, output_tokens=40, total_tokens=240)
    assert meter.take() == Told(tokens=tokens, model="gemini-x")


def test_zeros_of_gemini_that_name_no_model_are_no_count() -> None:
    meter = Meter("prompt")
    meter.answered(gemini([], {"input_tokens": 0, "output_tokens": 0}))
    assert meter.take() == Told()


def test_a_total_that_is_not_told_is_the_sum_without_the_thoughts() -> None:
    meter = Meter("prompt")
    meter.answered({"usage": {"inputTokens": 1, "outputTokens": 2, "cachedReadTokens": 4, "thoughtTokens": 8}})
    assert meter.take().tokens == Tokens(
        input_tokens=1, output_tokens=2, cached_read_tokens=4, thought_tokens=8, total_tokens=7
    )


@pytest.mark.parametrize("count", [-1, 1.5, "7", True, None, 10**13, 10**30, [], {}], ids=str)
def test_a_count_that_cannot_be_one_is_none(count: Any) -> None:
    meter = Meter("session")
    meter.answered({"usage": {"inputTokens": count, "outputTokens": 3}})
    meter.update({"sessionUpdate": "usage_update", "used": count})
    assert meter.take() == Told(tokens=Tokens(output_tokens=3, total_tokens=3))


@pytest.mark.parametrize("usage", [None, 7, "many", [], {}, {"inputTokens": None}, {"input_tokens": 5}], ids=str)
def test_a_usage_without_any_count_tells_nothing(usage: Any) -> None:
    meter = Meter("prompt")
    meter.answered({"usage": usage})
    assert meter.take().tokens is None


@pytest.mark.parametrize(
    "update",
    [
        cost(1, "EUR"), cost(1, None), cost("1"), cost(True), cost(None), cost(-1), cost(float("nan")),
        cost(float("inf")), cost(10**400), {"cost": 1}, {"cost": None}, {},
    ],
    ids=lambda update: str(update)[:40],
)  # fmt: skip
def test_money_that_cannot_be_counted_in_dollars_is_not(update: dict[str, Any]) -> None:
    meter = Meter("prompt")
    meter.update(update)
    assert meter.take() == Told()


@pytest.mark.parametrize(
    "meta",
    [
        None,
        7,
        {"quota": 7},
        {"quota": {"model_usage": 7}},
        *(gemini([each], 7)["_meta"] for each in (7, {"model": "m" * 201})),
    ],
)
def test_nonsense_in_place_of_gemini_s_words_tells_nothing(meta: Any) -> None:
    meter = Meter("prompt")
    meter.answered({"_meta": meta})
    assert meter.take() == Told()
