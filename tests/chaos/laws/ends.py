"""The laws of ends: a turn that is ok did what was asked, and one that ended otherwise had a cause. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from chaos.history import Ask, History, Script, Strike
from chaos.laws.asks import folded
from chaos.truth import Stored, Truth, Turn, Violation

NOTICED_WITHIN_MS: Final = 5_000
"""So long after its end an agent may be taken for one that lives, on a machine that is busy."""
SLACK_MS: Final = 50
"""Clocks: deadlines are kept by another one than records."""


@dataclass(frozen=True, slots=True)
class Causes:
    """What could have ended a turn otherwise than its script."""

    gateway: Sequence[Strike]
    agents: Mapping[str, Sequence[Strike]]
    cancels: Mapping[str, Sequence[int]]

    @classmethod
    def of(cls, history: History) -> Causes:
        agents: dict[str, list[Strike]] = defaultdict(list)
        cancels: dict[str, list[int]] = defaultdict(list)
        for strike in history.strikes:
            if strike.session_id is not None and strike.blow != "pause":
                agents[strike.session_id].append(strike)
        for attempt in history.attempts:
            if attempt.ask.what in ("cancel", "close") and attempt.ask.session_id is not None:
                cancels[attempt.ask.session_id].append(attempt.began_ms)
        gateway = [strike for strike in history.strikes if strike.blow in ("kill", "stop")]
        return cls(gateway, agents, cancels)


def check(history: History, truth: Truth) -> Iterator[Violation]:
    """Which ends are not true."""
    causes = Causes.of(history)
    asks = {attempt.ask.mark: attempt.ask for attempt in history.attempts if attempt.ask.script is not None}
    for session in truth.sessions.values():
        for turn in session.own_turns():
            ask = asks.get(turn.mark or "")
            if ask is not None and len(turn.ends) == 1 and turn.begins:
                yield from _true(session, turn, ask, causes)


def _true(session: Stored, turn: Turn, ask: Ask, causes: Causes) -> Iterator[Violation]:
    script, end = ask.script, turn.ends[0]
    assert script is not None
    told = f"turn {turn.index} ended {end['stop_reason']}, ok {end['ok']}; its script: {script.does[:200]}"
    if end["ok"] and not (script.ok and end["stop_reason"] == script.stop_reason):
        yield Violation("never ok for what did not end well", told, session.session_id, ask.mark)
        return
    if end["stop_reason"] == script.stop_reason:
        if end["ok"] is not script.ok:
            yield Violation("ok for what ended well", told, session.session_id, ask.mark)
        elif end["ok"] and script.text is not None and (text := _text(turn)) != script.text:
            detail = f"{told}; it says {text[:200]!r}, of {len(text)} characters"
            yield Violation("an ok turn is whole", detail, session.session_id, ask.mark)
    elif not _caused(session.session_id, turn, script, causes):
        yield Violation("an end has a cause", told, session.session_id, ask.mark)
    if end["stop_reason"] == "timeout" and (script.timeout_s or 1e9) * 1000 > end["duration_ms"] + SLACK_MS:
        yield Violation("a deadline is not early", told, session.session_id, ask.mark)


def _text(turn: Turn) -> str:
    return "".join(event["content"] for event in folded(turn) if event["type"] == "text")


def _caused(session_id: str, turn: Turn, script: Script, causes: Causes) -> bool:
    """Whether somebody did what makes a turn end so, while it was there."""
    began, ended = turn.begins[0]["ts"], turn.ends[0]["ts"]
    match turn.ends[0]["stop_reason"]:
        case "cancelled":
            return any(asked <= ended + SLACK_MS for asked in causes.cancels.get(session_id, ()))
        case "interrupted":
            return any(_meets(strike, began, ended) for strike in causes.gateway)
        case "agent_failed":
            strikes = causes.agents.get(session_id, ())
            return any(_meets(strike, began - NOTICED_WITHIN_MS, ended) for strike in strikes)
        case "timeout":
            return script.timeout_s is not None
        case _:
            return False


def _meets(strike: Strike, began_ms: int, ended_ms: int) -> bool:
    return strike.began_ms <= ended_ms + SLACK_MS and began_ms <= strike.ended_ms + SLACK_MS
