"""The laws of asking: one turn at most for one ask, heard at most once, and what was answered is what is. Pure.

The tables of the contract are told here once more: what is judged does not say by what.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, Final

from chaos.history import Ask, Attempt, History
from chaos.truth import Stored, Truth, Turn, Violation
from clawdforge.wire.events import Event
from clawdforge.wire.fold import Fold

ANSWERED_WITH: Final = {
    "end_turn": (200, None),
    "max_tokens": (200, None),
    "max_turn_requests": (200, None),
    "refusal": (200, None),
    "cancelled": (200, None),
    "timeout": (504, "timeout"),
    "agent_failed": (502, "agent_failed"),
    "interrupted": (502, "interrupted"),
}
REFUSALS: Final = {
    (404, "not_found"),
    (409, "turn_in_progress"),
    (409, "permission_answered"),
    (410, "session_closed"),
    (429, "too_many_turns"),
    (429, "too_many_sessions"),
    (429, "rate_limited"),
    (503, "overloaded"),
    (503, "shutting_down"),
}
ASYNC: Final = 202

Found = tuple[Stored, Turn]


def check(history: History, truth: Truth) -> Iterator[Violation]:
    """What the answers, and the agents' own logs, break."""
    asked: dict[str, list[Attempt]] = defaultdict(list)
    for attempt in history.attempts:
        asked[attempt.ask.mark].append(attempt)
    turns: dict[str, list[Found]] = defaultdict(list)
    for session in truth.sessions.values():
        for turn in session.own_turns():
            if turn.mark is not None:
                turns[turn.mark].append((session, turn))
    heard: dict[str, list[str]] = defaultdict(list)
    for prompt in truth.heard:
        heard[prompt.mark].append(prompt.session_id)

    for mark in turns.keys() | heard.keys():
        yield from _at_most_once(mark, mark in asked, turns[mark], heard[mark])
    for mark, attempts in asked.items():
        yield from _known_answers(attempts)
        yield from _same_answer(attempts)
        if attempts[0].ask.what in ("turn", "run"):
            yield from _of_prompt(attempts, turns[mark], heard[mark])
        elif attempts[0].ask.what == "session":
            opened = [each for each in truth.sessions.values() if each.meta.get("mark") == mark]
            yield from _of_session(attempts, opened)
        elif attempts[0].ask.what == "record":
            yield from _of_record(attempts, truth)


def refused(attempt: Attempt) -> bool:
    """Whether it was told that nothing was done."""
    return attempt.status is not None and attempt.status >= 400 and "turn_index" not in attempt.body


def _at_most_once(mark: str, asked: bool, turns: Sequence[Found], heard: Sequence[str]) -> Iterator[Violation]:
    if not asked:
        yield Violation("what runs was asked", "nobody asked this", mark=mark)
    if len(turns) > 1:
        where = [(session.session_id, turn.index) for session, turn in turns]
        yield Violation("one ask, one turn", f"{where}", turns[0][0].session_id, mark)
    if len(heard) > 1:
        yield Violation("a prompt reaches an agent once", f"{len(heard)} times", heard[0], mark)
    for session_id in heard:
        begun = [turn for session, turn in turns if session.session_id == session_id and turn.began]
        if not begun:
            yield Violation("what an agent hears is a turn that began", "there is none", session_id, mark)


def _known_answers(attempts: Sequence[Attempt]) -> Iterator[Violation]:
    for each in attempts:
        if each.status is None or each.status < 400:
            continue
        told = (each.status, each.body.get("code"))
        of_turn = "turn_index" in each.body and told in ANSWERED_WITH.values()
        if told not in REFUSALS and not of_turn:
            yield _violation("an answer of the contract", f"{each.body}", each)


def _same_answer(attempts: Sequence[Attempt]) -> Iterator[Violation]:
    """An accepted ask is answered the same however often it comes, and says so."""
    given: dict[str, Any] = {}
    for each in attempts:
        if each.ask.key is None or each.status is None or refused(each):
            continue
        if given and not each.replayed:
            yield _violation("an answer that was given before says so", f"{each.status}", each)
        first = given.setdefault(each.form, _comparable(each))
        if first != _comparable(each):
            yield _violation("the same answer again", f"first {first}, then {_comparable(each)}"[:2000], each)
    if attempts[0].replayed:
        yield _violation("a first answer is no replay", f"{attempts[0].status}", attempts[0])


def _comparable(attempt: Attempt) -> Any:
    """What must not change: of a turn that was only accepted, which one it is."""
    if attempt.status == ASYNC:
        return attempt.body.get("session_id"), attempt.body.get("turn_index")
    return attempt.status, {name: value for name, value in attempt.body.items() if name != "request_id"}


def _of_prompt(attempts: Sequence[Attempt], turns: Sequence[Found], heard: Sequence[str]) -> Iterator[Violation]:
    ask = attempts[0].ask
    if all(map(refused, attempts)) and (turns or heard):
        yield _violation("a refused prompt is nowhere", f"turns {len(turns)}, heard {len(heard)}", attempts[0])
    if ask.key is None and len(attempts) > 1:
        yield _violation("without a key one asks once", f"{len(attempts)} attempts", attempts[0])
    for each in attempts:
        if each.status is None or refused(each):
            continue
        if not turns:
            yield _violation("an accepted prompt is a turn", f"answered {each.status}, and is none", each)
            continue
        session, turn = turns[0]
        if (each.body["session_id"], each.body["turn_index"]) != (session.session_id, turn.index):
            detail = f"answered {each.body['session_id']} {each.body['turn_index']}, is {turn.index}"
            yield _violation("an answer names its turn", detail, each)
        elif each.form == "stream" and each.status == 200:
            if [{**each.body, "session_id": None}] != [{**end, "session_id": None} for end in turn.ends]:
                yield _violation("a stream ends with its turn", f"{each.body}, logged {turn.ends}", each)
        elif each.status != ASYNC:
            yield from _tells_the_end(each, turn)
        if each.body.get("ok") is True and each.status != ASYNC and len(heard) != 1:
            yield _violation("what is ok was heard once", f"heard {len(heard)} times", each)


def _tells_the_end(attempt: Attempt, turn: Turn) -> Iterator[Violation]:
    """The answer and the log's end of the turn are the same."""
    if len(turn.ends) != 1:
        return  # which is told by the laws of logs
    end, body = turn.ends[0], attempt.body
    status, code = ANSWERED_WITH[end["stop_reason"]]
    if (attempt.status, body.get("code")) != (status, code):
        detail = f"the log says {end['stop_reason']}, the answer {attempt.status} {body.get('code')}"
        yield _violation("an answer has its end's status", detail, attempt)
    told = ["stop_reason", "usage"] + (["ok", "duration_ms"] if status < 400 else [])
    for name in told:
        if body.get(name) != end[name]:
            detail = f"{name}: answered {body.get(name)!r}, logged {end[name]!r}"
            yield _violation("an answer tells what is logged", detail, attempt)
    if "events" in body and body["events"] != folded(turn):
        detail = f"answered {str(body['events'])[:500]}, logged {str(folded(turn))[:500]}"
        yield _violation("an answer is the log, folded", detail, attempt)


def folded(turn: Turn) -> list[dict[str, Any]]:
    """A turn's events as a blocking answer has them."""
    fold = Fold()
    for event in turn.events:
        data = {name: value for name, value in event.items() if name not in ("seq", "type", "turn_index", "ts")}
        fold.add(Event(event["seq"], event["type"], event["turn_index"], event["ts"], data))
    return fold.result()


def _of_session(attempts: Sequence[Attempt], opened: Sequence[Stored]) -> Iterator[Violation]:
    if len(opened) > 1:
        yield _violation("one ask, one session", f"{[each.session_id for each in opened]}", attempts[0])
    if all(map(refused, attempts)) and opened:
        yield _violation("a refused session is not there", f"{opened[0].session_id}", attempts[0])
    there = [each.session_id for each in opened]
    for each in attempts:
        if each.status == 200 and each.body["session_id"] not in there:
            yield _violation("a session that was opened is there", f"answered {each.body['session_id']}", each)


def _of_record(attempts: Sequence[Attempt], truth: Truth) -> Iterator[Violation]:
    """A turn's record, once it has ended, is the log and stays so; before, it is no end."""
    for each in attempts:
        ask = each.ask
        session = truth.sessions.get(ask.session_id or "")
        if each.status != 200 or session is None:
            continue
        turn = next((one for one in session.turns() if one.index == ask.turn_index), None)
        if turn is None or len(turn.ends) != 1:
            yield _violation("a record is of a turn", f"turn {ask.turn_index}", each)
        elif each.body["status"] in ("done", "failed"):
            end = turn.ends[0]
            for name in ("stop_reason", "ok", "duration_ms", "usage"):
                if each.body.get(name) != end[name]:
                    detail = f"{name}: {each.body.get(name)!r}, logged {end[name]!r}"
                    yield _violation("a record tells what is logged", detail, each)
            if "events" in each.body and each.body["events"] != folded(turn):
                yield _violation("a record has the turn's events", f"{str(each.body['events'])[:500]}", each)


def _violation(law: str, detail: str, attempt: Attempt) -> Violation:
    ask: Ask = attempt.ask
    return Violation(law, detail, ask.session_id, ask.mark)
