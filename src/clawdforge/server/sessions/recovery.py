"""Ends a turn that its gateway did not live to end: `interrupted`, exactly once, in one unit with its event."""

from __future__ import annotations

from collections.abc import Sequence

from clawdforge.server.agents.usage import Told, count
from clawdforge.server.apps.audit import Audit
from clawdforge.server.events.log import epoch_ms
from clawdforge.server.sessions import state, usage
from clawdforge.server.store.base import Store
from clawdforge.server.store.stored import TurnRow
from clawdforge.server.store.writes import AppendEvents, Change, CloseSession, EndTurn
from clawdforge.wire import events
from clawdforge.wire.events import Draft, Event


async def interrupt(store: Store, audit: Audit, turn: TurnRow) -> None:
    """Stores the end of a turn that has none in the store, and that nobody runs. A run is closed with it."""
    session = await store.session(turn.session_id)
    if session is None:
        return
    seen = await store.events(turn.session_id, turn_index=turn.turn_index)
    prompt, answer = _said(seen)
    begun = turn.status == "running"
    known = [Told(context_tokens=_context_tokens(seen))] if begun else []
    used = usage.of_turn(known, prompt, (event.as_dict() for event in seen))
    end = state.interrupted() if begun else state.never_begun()
    now_ms = epoch_ms()
    # As long as anything of it was seen: how long the gateway was away is no part of it.
    duration_ms = max(0, seen[-1].ts - turn.started_at_ms) if seen and begun else 0
    model = session.options.get("model")
    ended = state.ended(turn, end, empty=False, duration_ms=duration_ms, used=used, model=model)
    drafts = [*_unanswered(seen), *state.last_events(ended, end)]
    changes: list[Change] = [
        EndTurn(ended),
        audit.turn(session, ended, used, prompt, answer),
    ]
    if session.kind == "run":
        drafts.append(Draft(events.SESSION_CLOSED, {"reason": "run"}))
        changes.append(CloseSession(turn.session_id, now_ms // 1000, "run"))
    seq = await store.last_seq(turn.session_id)
    told = [
        Event(seq + place, draft.type, _turn_of(draft, turn), now_ms, draft.data)
        for place, draft in enumerate(drafts, start=1)
    ]
    await store.write(AppendEvents(turn.session_id, told), *changes)


def _turn_of(draft: Draft, turn: TurnRow) -> int | None:
    """The end of a session is no part of its last turn."""
    return None if draft.type == events.SESSION_CLOSED else turn.turn_index


def _said(seen: Sequence[Event]) -> tuple[str, str]:
    """The prompt of a turn, and what its agent had answered by then."""
    prompts = [event.data["prompt"] for event in seen if event.type in (events.TURN_QUEUED, events.TURN_START)]
    prompt = prompts[-1] if prompts else ""  # a queued one is said again where it begins
    answer = "".join(event.data["content"] for event in seen if event.type == events.TEXT)
    return prompt, answer


def _unanswered(seen: Sequence[Event]) -> list[Draft]:
    """The answers that permission requests of a turn are owed: nobody can give them any more."""
    asked = [event.data["permission_id"] for event in seen if event.type == events.PERMISSION_REQUEST]
    answered = {event.data["permission_id"] for event in seen if event.type == events.PERMISSION_ANSWER}
    told = {"decision": "cancelled", "option_id": None, "by": "interrupted"}
    return [
        Draft(events.PERMISSION_ANSWER, {"permission_id": each, **told}) for each in asked if each not in answered
    ]


def _context_tokens(seen: Sequence[Event]) -> int | None:
    """How full the agent's context was, by the last that it told of it."""
    told = [count(event.data.get("used")) for event in seen if event.type == events.USAGE]
    return next((each for each in reversed(told) if each is not None), None)
