"""The usage of a turn: what its agent told of it, else an estimate by what was said. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any, Final

from clawdforge.server.agents.usage import COST_DIGITS, Told
from clawdforge.server.apps.audit import utf8_bytes
from clawdforge.wire import events
from clawdforge.wire.usage import Source, Tokens, Usage, estimate

_SAID: Final = frozenset({events.TEXT, events.THINKING})


def of_turn(told: Sequence[Told], prompt: str, seen: Iterable[Mapping[str, Any]]) -> Usage:
    """What a turn took, however it ended.

    Args:
        told: what the agent told of each of the turn's prompts that it was given; a turn without took nothing.
        prompt: what the caller said.
        seen: the events of the turn, folded or not: what the agent has said in them counts.
    """
    if not told:
        return Usage()
    costs = [each.cost_usd for each in told if each.cost_usd is not None]
    cost_usd = round(sum(costs), COST_DIGITS) if costs else None
    counted = [each.tokens for each in told if each.tokens is not None]
    if counted:
        source: Source = "agent" if len(counted) == len(told) else "estimate"
        return Usage(**_summed(counted), cost_usd=cost_usd, source=source)
    asked_bytes, answer_bytes = utf8_bytes(prompt), 0
    for event in seen:
        if event["type"] in _SAID:
            answer_bytes += utf8_bytes(event["content"])
        elif event["type"] == events.SCHEMA_REPAIR:
            asked_bytes += utf8_bytes(event["prompt"])
    contexts = [each.context_tokens for each in told if each.context_tokens is not None]
    return estimate(asked_bytes, answer_bytes, contexts[-1] if contexts else 0, cost_usd)


def model_of(told: Sequence[Told]) -> str | None:
    """The model that the agent told last, if it told one."""
    return next((each.model for each in reversed(told) if each.model is not None), None)


def _summed(counted: Sequence[Tokens]) -> dict[str, int]:
    return {field.name: sum(getattr(each, field.name) for each in counted) for field in fields(Tokens)}
