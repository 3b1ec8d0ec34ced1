"""The laws of readers: each event once, in order, no gap, the same bytes for all, as it lies in the log. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from chaos.history import History, Reading
from chaos.truth import Stored, Truth, Violation


def check(history: History, truth: Truth) -> Iterator[Violation]:
    """What the readings break."""
    seen: dict[tuple[str, int], str] = {}
    stands: dict[tuple[str, str], int] = {}
    for reading in history.readings:
        session = truth.sessions.get(reading.session_id)
        if session is None:
            yield Violation("what was read is there", f"{reading.reader} read it", reading.session_id)
            continue
        if reading.way == "turn":
            yield from _of_one_turn(reading, session)
        else:
            yield from _goes_on(reading, stands)
        yield from _as_stored(reading, session)
        if reading.way not in ("page", "poll"):
            yield from _same_bytes(reading, seen)
    for (reader, session_id), after in stands.items():
        stored = truth.sessions[session_id]
        if stored.closed and after != len(stored.events):
            detail = f"{reader} got to {after} of {len(stored.events)}"
            yield Violation("a reader gets to the end", detail, session_id)


def _goes_on(reading: Reading, stands: dict[tuple[str, str], int]) -> Iterator[Violation]:
    """From where it stood, in steps of one. Readers come to nothing before the first event."""
    who = (reading.reader, reading.session_id)
    at = stands.get(who, 0)
    if reading.after != at:
        detail = f"{reading.reader} had {at} and asked for what follows {reading.after}"
        yield Violation("a reader goes on where it stood", detail, reading.session_id)
        at = reading.after
    for seq in _seqs(reading.texts):
        if seq != at + 1:
            detail = f"{reading.reader} by {reading.way}: {seq} came after {at}"
            yield Violation("no gap, nothing twice", detail, reading.session_id)
            break
        at = seq
    stands[who] = at


def _of_one_turn(reading: Reading, session: Stored) -> Iterator[Violation]:
    """A stream of one turn has a beginning of that turn's events, each of them once."""
    told = list(map(json.loads, reading.texts))
    if not told:
        return
    index = told[0]["turn_index"]
    stored = [event["seq"] for event in session.events if event["turn_index"] == index]
    seqs = [event["seq"] for event in told]
    if index is None or seqs != stored[: len(seqs)]:
        detail = f"{reading.reader}: {seqs} of turn {index}, which has {stored}"
        yield Violation("a turn's stream is the turn", detail, reading.session_id)


def _as_stored(reading: Reading, session: Stored) -> Iterator[Violation]:
    for text in reading.texts:
        event = json.loads(text)
        place = event["seq"] - 1
        stored = session.events[place] if 0 <= place < len(session.events) else None
        if stored != event:
            detail = f"{reading.reader} by {reading.way} saw {text[:300]}; stored is {str(stored)[:300]}"
            yield Violation("what was seen is in the log", detail, reading.session_id)
            return


def _same_bytes(reading: Reading, seen: dict[tuple[str, int], str]) -> Iterator[Violation]:
    for seq, text in zip(_seqs(reading.texts), reading.texts, strict=True):
        first = seen.setdefault((reading.session_id, seq), text)
        if first != text:
            detail = f"seq {seq} was {first[:200]}, then {text[:200]} for {reading.reader}"
            yield Violation("the same bytes for all", detail, reading.session_id)
            return


def _seqs(texts: Sequence[str]) -> list[int]:
    return [json.loads(text)["seq"] for text in texts]
