"""What an agent tells of its tokens and its cost, and which part of that is one prompt's.

Told are, by what was seen of real agents (docs/agents.md):
- tokens in the answer to `session/prompt`: `usage` (of this prompt, or of all so far: `Counts`), or gemini's own
  `_meta.quota`;
- the cost in a `usage_update`: of the whole session so far, as ACP has it;
- how full the context is, in a `usage_update`.
Must not estimate: what is not told is None. Source: https://agentclientprotocol.com/protocol/schema
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any, Final, Literal

from clawdforge.wire.agents import NAME_LIMIT_CHARS
from clawdforge.wire.usage import Tokens

Counts = Literal["prompt", "session"]

# More than any turn takes: a larger number is nonsense, and sums of these fit into 64 bits.
_TOKENS_LIMIT: Final = 10**12
_COST_LIMIT_USD: Final = 10**9
COST_DIGITS: Final = 9
_NAMES: Final = {
    "input_tokens": "inputTokens",
    "output_tokens": "outputTokens",
    "cached_read_tokens": "cachedReadTokens",
    "cached_write_tokens": "cachedWriteTokens",
    "thought_tokens": "thoughtTokens",
    "total_tokens": "totalTokens",
}


@dataclass(frozen=True, slots=True)
class Told:
    """What an agent told of one prompt; None for what it did not tell.

    `context_tokens` is how full its context was after the last call of its model.
    """

    tokens: Tokens | None = None
    cost_usd: float | None = None
    context_tokens: int | None = None
    model: str | None = None


class Meter:
    """Reads one agent process. A fresh process gets a fresh meter: its counters begin anew.

    Args:
        counts: what the `usage` of its answers counts: that prompt, or all of its session so far.
    """

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._tokens_before = Tokens()
        self._cost_before_usd = 0.0
        self._tokens: Tokens | None
        self._cost_usd: float | None
        self._context_tokens: int | None
        self._model: str | None
        self._forget()

    def prompted(self) -> None:
        """A prompt is sent: how full the context was before it says nothing about it."""
        self._context_tokens = None

    def update(self, update: Mapping[str, Any]) -> None:
        """A `usage_update` came."""
        if (used := count(update.get("used"))) is not None:
            self._context_tokens = used
        if (cost_usd := _cost_usd(update.get("cost"))) is not None:
            self._cost_usd = cost_usd

    def answered(self, result: Mapping[str, Any]) -> None:
        """The answer to the prompt came."""
        quota = _object(_object(result.get("_meta")).get("quota"))
        self._tokens = _tokens(result.get("usage")) or _gemini_tokens(quota)
        self._model = _gemini_model(quota)

    def take(self) -> Told:
        """What was told since it was last taken: once for each prompt, at its end.

        Money, and tokens of the session, that were told between two prompts or not at all are the later one's.
        """
        tokens, cost_usd = self._tokens, self._cost_usd
        if tokens is not None and self._counts == "session":
            tokens, self._tokens_before = _since(self._tokens_before, tokens), tokens
        if cost_usd is not None:
            # A counter that has gone back was begun anew.
            counted = self._cost_before_usd if self._cost_before_usd <= cost_usd else 0.0
            cost_usd, self._cost_before_usd = round(cost_usd - counted, COST_DIGITS), cost_usd
        told = Told(tokens, cost_usd, self._context_tokens, self._model)
        self._forget()
        return told

    def _forget(self) -> None:
        self._tokens = None
        self._cost_usd = None
        self._context_tokens = None
        self._model = None


def _since(before: Tokens, now: Tokens) -> Tokens:
    """The difference of two states of a counter; all of the later one where it was begun anew."""
    counts = [late - early for early, late in zip(astuple(before), astuple(now), strict=True)]
    return now if min(counts) < 0 else Tokens(**dict(zip(_NAMES, counts, strict=True)))


def _tokens(usage: Any) -> Tokens | None:
    """ACP's own counts; None where there is none that can be one."""
    if not isinstance(usage, dict):
        return None
    told = {ours: count(usage.get(theirs)) for ours, theirs in _NAMES.items()}
    return _summed({name: number for name, number in told.items() if number is not None})


def _gemini_tokens(quota: Mapping[str, Any]) -> Tokens | None:
    """gemini's counts. It tells zeros where it has not counted: then it names no model either."""
    if not quota.get("model_usage"):
        return None
    counted = _object(quota.get("token_count"))
    told = {name: count(counted.get(name)) for name in ("input_tokens", "output_tokens")}
    return _summed({name: number for name, number in told.items() if number is not None})


def _gemini_model(quota: Mapping[str, Any]) -> str | None:
    """The model that gemini used; the first where it used more than one."""
    used = quota.get("model_usage")
    first = _object(used[0]) if isinstance(used, list) and used else {}
    name = first.get("model")
    return name if isinstance(name, str) and 0 < len(name) <= NAME_LIMIT_CHARS else None


def _summed(told: dict[str, int]) -> Tokens | None:
    if not told:
        return None
    parts = ("input_tokens", "output_tokens", "cached_read_tokens", "cached_write_tokens")
    return Tokens(**{"total_tokens": sum(told.get(name, 0) for name in parts), **told})


def count(value: Any) -> int | None:
    """A number of tokens, if it can be one."""
    return value if type(value) is int and 0 <= value <= _TOKENS_LIMIT else None


def _cost_usd(cost: Any) -> float | None:
    """Other currencies are not converted: they stay in the event alone."""
    told = _object(cost)
    amount = told.get("amount")
    if isinstance(amount, bool) or not isinstance(amount, int | float) or told.get("currency") != "USD":
        return None
    return float(amount) if 0 <= amount <= _COST_LIMIT_USD else None


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
