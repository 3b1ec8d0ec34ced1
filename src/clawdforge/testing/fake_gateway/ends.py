"""How a turn ends: what its schema says of it, whether it is asked for once more, and what is told of it at last.

The one place that ends turns. The lock is held in all of it.
"""

from __future__ import annotations

import dataclasses
import time
from typing import Final

from clawdforge.testing.fake_gateway import deciding, schemas
from clawdforge.testing.fake_gateway.prompt import Prompt
from clawdforge.testing.fake_gateway.script import FAILURES, End, Told
from clawdforge.testing.fake_gateway.session import Session, Turn
from clawdforge.wire import codec, events, results
from clawdforge.wire.events import Draft
from clawdforge.wire.fold import Fold
from clawdforge.wire.usage import Usage, estimate

_MODEL: Final = "fake"
_AGENT_LOST: Final = ("agent_failed", "timeout", "interrupted")


def repair(session: Session, turn: Turn, end: End, told: Told) -> Prompt | None:
    """The prompt by which a result that does not fit its schema is asked for once more; None where it is not."""
    wrong = _judged(session, turn, told)
    if not wrong or end.stop_reason != "end_turn" or _is_empty(session.folded(turn)):
        return None
    words = "\n".join(("Your answer does not fit the JSON Schema that it was asked to fit:", *wrong))
    session.append(Draft(events.SCHEMA_REPAIR, {"errors": [*wrong], "prompt": words}), turn.index)
    return dataclasses.replace(turn.prompt, errors=wrong)


def settle(session: Session, turn: Turn, end: End, told: Told) -> None:
    """The turn has ended: its record says how, and its last events."""
    begun = turn.status == "running"
    for each in session.asked.values():
        if each.waits:
            deciding.answer(session, each, None, "cancel")
    failed = end.stop_reason in FAILURES
    turn.duration_ms = round((time.monotonic() - turn.begun_s) * 1000) if begun else 0
    turn.ok = _ok(end, session.folded(turn))
    turn.usage = codec.to_json(_usage(session, turn, told))
    turn.model = session.options.model or (told.model or _MODEL if begun else None)
    turn.schema_errors = None if failed else _judged(session, turn, told)
    turn.status = "failed" if failed else "done"
    turn.after = dict(session.workspace)
    if failed:
        limit = {"limit": end.extra["limit"]} if "limit" in end.extra else {}
        session.append(Draft(events.ERROR, {"code": end.stop_reason, "detail": end.detail, **limit}), turn.index)
    session.awake = session.awake and end.stop_reason not in _AGENT_LOST
    turn.end = end
    how = {"stop_reason": end.stop_reason, "ok": turn.ok, "duration_ms": turn.duration_ms, "usage": turn.usage}
    session.append(Draft(events.TURN_END, how), turn.index)
    if session.is_run:
        session.close("run")


def _judged(session: Session, turn: Turn, told: Told) -> tuple[str, ...] | None:
    """What is wrong with the result by the turn's schema; None where it has none."""
    if turn.prompt.schema is None or told.schema_errors is not None:
        return told.schema_errors if turn.prompt.schema is not None else None
    text = results.final_text(session.folded(turn).result())
    return tuple(schemas.errors(turn.prompt.schema, results.parse(text, amid_words=True)))


def _ok(end: End, fold: Fold) -> bool:
    if end.stop_reason == "end_turn":
        return not _is_empty(fold)
    return end.stop_reason in ("max_tokens", "max_turn_requests")


def _is_empty(fold: Fold) -> bool:
    return not fold.text() and not fold.tool_calls


def _usage(session: Session, turn: Turn, told: Told) -> Usage:
    if told.usage is not None:
        return told.usage
    asked, said = turn.prompt.text, ""
    for event in session.of_turn(turn):
        if event.type in events.STREAMED:
            said += event.data["content"]
        elif event.type == events.SCHEMA_REPAIR:
            asked += event.data["prompt"]
    return estimate(len(asked.encode()), len(said.encode()))
