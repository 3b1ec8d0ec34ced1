"""The laws of cancels and permissions: what a client was told that it did is what the log has. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from chaos.history import Attempt, History
from chaos.laws.ends import SLACK_MS
from chaos.truth import Event, Stored, Truth, Violation


def check(history: History, truth: Truth) -> Iterator[Violation]:
    """What the answers of those who interfered break, and the requests of agents."""
    decided: dict[tuple[str | None, str | None], Event] = {}
    for session in truth.sessions.values():
        yield from _answered_once(session)
        for event in session.events:
            if event["type"] == "permission_answer":
                decided[session.session_id, event["permission_id"]] = event
    winners: dict[tuple[str | None, str | None], set[str]] = defaultdict(set)
    for attempt in history.attempts:
        if attempt.ask.what == "cancel" and attempt.status == 200:
            yield from _cancelled(attempt, truth)
        if attempt.ask.what == "permission" and attempt.status is not None:
            place = (attempt.ask.session_id, attempt.ask.permission_id)
            yield from _decided(attempt, decided.get(place))
            if attempt.status == 200:
                winners[place].add(attempt.ask.mark)
    for (session_id, permission_id), marks in winners.items():
        if len(marks) > 1:
            yield Violation("the first answer counts", f"{permission_id}: {sorted(marks)}", session_id)


def _cancelled(attempt: Attempt, truth: Truth) -> Iterator[Violation]:
    """Who is told that he ended a turn has."""
    ask, body = attempt.ask, attempt.body
    if not body["cancelled"]:
        return
    turns = {turn.index: turn for turn in truth.sessions[ask.session_id or ""].turns()}
    turn = turns.get(body["turn_index"])
    ends = [] if turn is None else [end["stop_reason"] for end in turn.ends]
    if ends != ["cancelled"]:
        detail = f"answered {body}, logged {ends}"
        yield Violation("a cancel that is told has happened", detail, ask.session_id, ask.mark)


def _decided(attempt: Attempt, logged: Event | None) -> Iterator[Violation]:
    """Who answers a request is told what is logged of it, be it his own answer or an earlier one."""
    ask, body = attempt.ask, attempt.body
    if attempt.status == 200 or body.get("code") == "permission_answered":
        told = {name: body.get(name) for name in ("decision", "option_id", "by")}
        stored = None if logged is None else {name: logged.get(name) for name in told}
        if told != stored:
            detail = f"{attempt.status}: told {told}, logged {stored}"
            yield Violation("a decision that is told is logged", detail, ask.session_id, ask.mark)


def _answered_once(session: Stored) -> Iterator[Violation]:
    """Each request has one answer, in its turn; one that expired had its time."""
    waiting: dict[str, Event] = {}
    for event in session.events:
        match event["type"]:
            case "permission_request":
                waiting[event["permission_id"]] = event
            case "permission_answer":
                asked = waiting.pop(event["permission_id"], None)
                yield from _fits(session.session_id, asked, event)
            case "turn_end":
                for each in [one for one in waiting.values() if one["turn_index"] == event["turn_index"]]:
                    detail = f"{each['permission_id']} waits at the end of turn {event['turn_index']}"
                    yield Violation("no request outlives its turn", detail, session.session_id)
                    del waiting[each["permission_id"]]
    for permission_id in waiting:
        yield Violation("every request is answered", permission_id, session.session_id)


def _fits(session_id: str, asked: Mapping[str, Any] | None, answer: Event) -> Iterator[Violation]:
    if asked is None:
        yield Violation("an answer is of a request, once", f"{answer}", session_id)
    elif asked["turn_index"] != answer["turn_index"]:
        yield Violation("an answer is in its request's turn", f"{asked} {answer}", session_id)
    elif answer["by"] == "expiry" and answer["ts"] + SLACK_MS < (asked["expires_at"] or 0):
        yield Violation("a request expires no sooner than it says", f"{asked} {answer}", session_id)
