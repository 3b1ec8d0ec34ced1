"""Usage: the tokens and the money of a turn, and sums of them. Token names are ACP's, in our spelling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Source = Literal["agent", "estimate"]
By = Literal["agent", "model", "day"]

BYTES_PER_TOKEN: Final = 4
"""Where an agent does not tell its tokens: so many bytes of UTF-8 are taken for one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Counts of tokens; 0 where a kind is not told.

    `total_tokens` is what the agent told, else the sum of input, output, cached read and cached write. Whether
    input holds the cached ones, and output the thoughts, is each vendor's own way of counting.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_read_tokens: int = 0
    cached_write_tokens: int = 0
    thought_tokens: int = 0
    total_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage(Tokens):
    """What one turn took.

    `source` says where the tokens are from: the agent, or an estimate of the gateway's. `cost_usd` is only ever
    the agent's own word, None where it told none.
    """

    cost_usd: float | None = None
    source: Source = "estimate"


def estimate(
    prompt_bytes: int, answer_bytes: int, context_tokens: int = 0, cost_usd: float | None = None
) -> Usage:
    """The usage of a turn whose agent did not tell its tokens: a floor, not a measurement.

    Args:
        prompt_bytes: of the caller's prompt.
        answer_bytes: of the text and the thoughts that came.
        context_tokens: the tokens of the model's last call, where the agent told how full its context is.
        cost_usd: what the agent told.
    """
    output = -(-answer_bytes // BYTES_PER_TOKEN)
    known = max(-(-prompt_bytes // BYTES_PER_TOKEN), context_tokens - output)
    return Usage(
        input_tokens=known,
        output_tokens=output,
        total_tokens=known + output,
        cost_usd=cost_usd,
        source="estimate",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageSum(Tokens):
    """Many turns together.

    Attributes:
        turns: how many there were, failed ones too.
        duration_ms: how long they took together.
        cost_usd: what agents told of their cost; None where none did.
        estimated_turns: those of the turns whose tokens are an estimate.
        estimated_tokens: those of `total_tokens` that are.
    """

    turns: int = 0
    duration_ms: int = 0
    cost_usd: float | None = None
    estimated_turns: int = 0
    estimated_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageGroup(UsageSum):
    """The turns of one agent, one model (None: not known), or one day (`2026-11-22`, UTC)."""

    key: str | None


@dataclass(frozen=True, slots=True)
class UsageReport:
    """Answer of `GET /usage`: turns that began from `since` on and before `until`, epoch seconds.

    `groups` is empty where nothing was asked to group `by`; else days are newest first, agents and models with the
    most tokens first. `left_out` says how many more groups there were; `total` is of them all.
    """

    ok: bool
    since: int | None
    until: int | None
    by: By | None
    total: UsageSum
    groups: list[UsageGroup]
    left_out: int
