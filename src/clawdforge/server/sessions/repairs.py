"""A result that does not fit its schema is asked for once more: when, and in which words. Pure.

Must not run anything: a session's prompts do that (docs/decisions/0009-a-result-is-repaired-once.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from clawdforge.server.agents.base import Prompt
from clawdforge.server.sessions import answers
from clawdforge.server.sessions.state import TurnEnd
from clawdforge.server.sessions.verdicts import Verdict
from clawdforge.wire import events
from clawdforge.wire.events import Draft


def wanted(end: TurnEnd, folded: list[dict[str, Any]], verdict: Verdict | None) -> bool:
    """Whether a turn that ended so has a result, and one that its agent could mend."""
    if verdict is None or verdict.valid or not verdict.decided:
        return False
    return end.stop_reason == "end_turn" and end.ok(empty=answers.nothing_done(folded))


def asked(schema: dict[str, Any] | None, errors: Sequence[str]) -> Prompt:
    """The prompt that asks for it; the agent is told the schema as with every prompt that has one."""
    words = (
        "Your answer was read by a program, and does not fit the JSON Schema that it was asked to fit:",
        *(f"- {each}" for each in errors),
        "",
        "Give that answer again, corrected. Do not repeat any work that is done.",
    )
    return Prompt("\n".join(words), (), schema)


def made(folded: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a turn's result was asked for again."""
    return any(event["type"] == events.SCHEMA_REPAIR for event in folded)


def told(prompt: Prompt, errors: Sequence[str]) -> Draft:
    """The event that stands before it: what was said before it is not the result any more."""
    return Draft(events.SCHEMA_REPAIR, {"errors": list(errors), "prompt": prompt.text})
