"""The laws of a session's log: no gap, every turn begins and ends once, and the rows tell the same. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from chaos.truth import NEVER_BEGUN, Event, Stored, Truth, Turn, Violation

ROW: Final = ("turn_index", "status", "stop_reason", "ok", "duration_ms", "error")


def check(truth: Truth) -> Iterator[Violation]:
    """What the logs break."""
    for session in truth.sessions.values():
        yield from _order(session)
        yield from _close(session)
        turns = session.turns()
        indexes = [turn.index for turn in turns]
        if indexes != list(range(1, len(turns) + 1)):
            yield Violation("turns are counted from 1", f"{indexes}", session.session_id)
        for turn in turns:
            yield from _once(session, turn)
            yield from _rows_agree(session, turn)
        yield from _one_at_a_time(session)
        yield from _audited(session)
        if session.forked_from is not None:
            yield from _goes_on(
                session, session.forked_from, truth.sessions.get(session.forked_from["session_id"])
            )


def _order(session: Stored) -> Iterator[Violation]:
    seqs = [event["seq"] for event in session.events]
    for place, seq in enumerate(seqs, start=1):
        if seq != place:
            yield Violation("seq is contiguous from 1", f"{seq} stands in place {place}", session.session_id)
            return


def _close(session: Stored) -> Iterator[Violation]:
    closes = [event["seq"] for event in session.events if event["type"] == "session_closed"]
    expected = [len(session.events)] if session.closed else []
    if closes != expected:
        detail = f"closed: {session.closed}, events: {len(session.events)}, closes at {closes}"
        yield Violation("a close is told once, and last", detail, session.session_id)


def _once(session: Stored, turn: Turn) -> Iterator[Violation]:
    told = [event["type"] for event in turn.events]
    where = f"turn {turn.index}: {told}"
    for name in ("turn_queued", "turn_start"):
        if told.count(name) > 1:
            yield Violation("a turn begins once", where, session.session_id)
    if not turn.begins or turn.events[0] != turn.begins[0]:
        yield Violation("a turn begins with its start", where, session.session_id)
    if told.count("turn_end") != 1 or told[-1] != "turn_end":
        yield Violation("a turn ends once, and last", where, session.session_id)
    if not turn.began and not NEVER_BEGUN.issuperset(told):
        yield Violation("a turn that has not begun says nothing", where, session.session_id)
    if turn.mark is None and turn.begins:
        prompts = [event.get("prompt") for event in turn.begins]
        yield Violation("a turn has one prompt", f"turn {turn.index}: {prompts}", session.session_id)


def _one_at_a_time(session: Stored) -> Iterator[Violation]:
    running: int | None = None
    begun: set[int] = set()
    for event in session.events:
        index, kind = event["turn_index"], event["type"]
        if kind == "turn_start":
            if running is not None or (begun and index < max(begun)):
                detail = f"turn {index} starts, {running} runs, {sorted(begun)} have begun"
                yield Violation("one turn at a time, in order", detail, session.session_id)
            running = index
            begun.add(index)
        elif kind == "turn_end" and index == running:
            running = None
        elif index is not None and index != running and (kind not in NEVER_BEGUN or index in begun):
            detail = f"seq {event['seq']}, {kind} of turn {index}, while {running} runs"
            yield Violation("a turn's events lie in it", detail, session.session_id)


def _rows_agree(session: Stored, turn: Turn) -> Iterator[Violation]:
    row = turn.row
    if row is None:
        yield Violation("a turn has a row", f"turn {turn.index} has none", session.session_id)
        return
    if row["status"] not in ("done", "failed"):
        yield Violation("no turn is left running", f"turn {turn.index} is {row['status']}", session.session_id)
        return
    for end in turn.ends:
        for name in ("stop_reason", "ok", "duration_ms"):
            if row[name] != end[name]:
                detail = f"turn {turn.index}, {name}: row {row[name]!r}, log {end[name]!r}"
                yield Violation("row and log tell the same", detail, session.session_id)
    if (row["status"] == "done") is not (row["error"] is None):
        detail = f"turn {turn.index} is {row['status']}, its error is {row['error']}"
        yield Violation("a failed turn has an error, no other has", detail, session.session_id)


def _audited(session: Stored) -> Iterator[Violation]:
    lines = [(line["turn_index"], line["stop_reason"], line["ok"], line["duration_ms"]) for line in session.audit]
    own = [row for row in session.rows if row["turn_index"] > session.inherited]
    rows = [(row["turn_index"], row["stop_reason"], row["ok"], row["duration_ms"]) for row in own]
    if sorted(lines) != sorted(rows):
        detail = f"only in the audit {set(lines) - set(rows)}, only in the rows {set(rows) - set(lines)}"
        yield Violation("every turn is in the audit once", detail, session.session_id)


def _goes_on(fork: Stored, forked_from: Event, source: Stored | None) -> Iterator[Violation]:
    """A fork has all of its source up to the end of the last turn that both have, under the same numbers."""
    if source is None:
        yield Violation("a fork has a source", f"{forked_from}", fork.session_id)
        return
    common = [
        event["seq"] for event in source.events if (event["turn_index"] or 0) in range(1, fork.inherited + 1)
    ]
    upto = max(common, default=0)
    if fork.events[:upto] != source.events[:upto]:
        different = [pair for pair in zip(fork.events, source.events[:upto], strict=False) if pair[0] != pair[1]]
        detail = f"{forked_from}: of {upto} events there are {len(fork.events)}, other than there {different[:1]}"
        yield Violation("a fork has its source's history", detail, fork.session_id)
    for mine, theirs in zip(fork.rows[: fork.inherited], source.rows[: fork.inherited], strict=False):
        if any(mine[name] != theirs[name] for name in ROW):
            detail = f"turn {mine['turn_index']}: {mine}, there {theirs}"
            yield Violation("a fork's turns are its source's", detail, fork.session_id)
