"""The usage of a turn: what its agent told of it, else an estimate by what was said. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from clawdforge.server.agents.usage import Told
from clawdforge.server.apps.audit import utf8_bytes
from clawdforge.wire import codec, events
from clawdforge.wire.usage import Usage, estimate

_SAID: Final = frozenset({events.TEXT, events.THINKING})


def of_turn(told: Told | None, prompt: str, seen: Iterable[Mapping[str, Any]]) -> Usage:
    """What a turn took, however it ended.

    Args:
        told: what the agent told; None where no agent was given the prompt, which then took nothing.
        prompt: what the caller said.
        seen: the events of the turn, folded or not: what the agent has said in them counts.
    """
    if told is None:
        return Usage()
    if told.tokens is not None:
        return Usage(**codec.to_json(told.tokens), cost_usd=told.cost_usd, source="agent")
    answer_bytes = sum(utf8_bytes(event["content"]) for event in seen if event["type"] in _SAID)
    return estimate(utf8_bytes(prompt), answer_bytes, told.context_tokens or 0, told.cost_usd)
