"""What a person is told of a storm: how much of what there was, and all that has to do with a violation. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

from chaos.history import History
from chaos.truth import Truth, Violation

SHOWN: Final = 12
LOG_TAIL_CHARS: Final = 6_000
LINE_CHARS: Final = 400


def counted(history: History, truth: Truth) -> str:
    """How much of what there was."""
    turns = [turn for session in truth.sessions.values() for turn in session.turns()]
    ends = [f"{end['stop_reason']}{'' if end['ok'] else ' (not ok)'}" for turn in turns for end in turn.ends]
    answers = [
        "broken" if each.status is None else f"{each.status} {each.body.get('code', '')}".strip()
        for each in history.attempts
    ]
    events = sum(len(session.events) for session in truth.sessions.values())
    seen = sum(len(reading.texts) for reading in history.readings)
    how = [e["how"] for session in truth.sessions.values() for e in session.events if e["type"] == "agent_start"]
    by = [
        e["by"] for session in truth.sessions.values() for e in session.events if e["type"] == "permission_answer"
    ]
    return "\n".join(
        (
            f"sessions {len(truth.sessions)}, turns {len(turns)}, events {events}, seen {seen}",
            _line("attempts", Counter(attempt.ask.what for attempt in history.attempts)),
            _line("answers", Counter(answers)),
            _line("replays", Counter(each.ask.what for each in history.attempts if each.replayed)),
            _line("readings", Counter(reading.way for reading in history.readings)),
            _line("strikes", Counter(strike.blow for strike in history.strikes)),
            _line("starts", Counter(how)),
            _line("decided", Counter(by)),
            _line("ends", Counter(ends)),
        )
    )


def told(violations: list[Violation], history: History, truth: Truth, log: str) -> str:
    """Each violation with its part of the history, then the end of the gateway's log."""
    lines = [f"{len(violations)} violations, of which the first:"]
    for each in violations[:SHOWN]:
        lines += [f"\n### {each}", *_part(each, history, truth)]
    return "\n".join(
        [*(line[:LINE_CHARS] for line in lines), "\n### the gateway's log ends so:", log[-LOG_TAIL_CHARS:]]
    )


def _part(violation: Violation, history: History, truth: Truth) -> Iterator[str]:
    """What was asked, answered and done there, by its time; then the log as it is."""
    mark, session_id = violation.mark, violation.session_id
    told = [
        (each.began_ms, f"asked   {each}")
        for each in history.attempts
        if (each.ask.mark == mark) or (each.ask.what in ("cancel", "close") and each.ask.session_id == session_id)
    ]
    for strike in history.strikes:
        if strike.session_id in (None, session_id):
            told.append((strike.began_ms, f"struck  {strike}"))
    for prompt in truth.heard:
        if prompt.mark == mark:
            yield f"heard   {prompt}"
    yield from (f"{at} {line}" for at, line in sorted(told)[-4 * SHOWN :])
    session = truth.sessions.get(session_id or "")
    for event in [] if session is None else session.events[-4 * SHOWN :]:
        yield f"logged  {event}"


def _line(name: str, counter: Mapping[Any, int]) -> str:
    told = ", ".join(f"{each} {count}" for each, count in sorted(counter.items(), key=lambda pair: -pair[1]))
    return f"{name:8} {told}"
