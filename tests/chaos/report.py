"""What a person is told of a storm. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from chaos.storm import Outcome


def told(outcome: Outcome) -> str:
    """How much of what there was."""
    history, truth = outcome.history, outcome.truth
    asks = Counter(attempt.ask.what for attempt in history.attempts)
    answers = Counter(
        "broken" if each.status is None else f"{each.status} {(each.body or {}).get('code', '')}".strip()
        for each in history.attempts
    )
    ways = Counter(reading.way for reading in history.readings)
    blows = Counter(strike.blow for strike in history.strikes)
    ends = Counter(
        f"{end['stop_reason']}{'' if end['ok'] else ' (not ok)'}"
        for session in truth.sessions.values()
        for turn in session.turns()
        for end in turn.ends
    )
    events = sum(len(session.events) for session in truth.sessions.values())
    seen = sum(len(reading.texts) for reading in history.readings)
    return "\n".join(
        (
            f"sessions {len(truth.sessions)}, events {events}, seen {seen}",
            f"attempts {_counted(asks)}",
            f"answers  {_counted(answers)}",
            f"readings {_counted(ways)}",
            f"strikes  {_counted(blows)}",
            f"ends     {_counted(ends)}",
        )
    )


def _counted(counter: Mapping[Any, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counter.items(), key=lambda each: -each[1]))
