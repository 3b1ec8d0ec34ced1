"""The judge finds every kind of fault: a good story is sabotaged in one place, and its judge names the law."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chaos.history import Ask, Attempt, Reading, Strike
from chaos.judge import judge
from chaos.stories import FORK, RUN, SAYS, SESSION, Story, good
from chaos.truth import Heard

Sabotage = Callable[[Story], object]
TELLING = ("Violation", "_violation")


def swap(story: Story, reading: int, at: int, **changes: object) -> None:
    """One event, as one reader saw it."""
    texts = story.history.readings[reading].texts
    texts[at] = json.dumps({**json.loads(texts[at]), **changes})


def answer(story: Story, mark: str, **changes: Any) -> None:
    """The last attempt of an ask, otherwise."""
    at = story.attempt(mark)
    story.history.attempts[at] = replace(story.history.attempts[at], **changes)


def refuse(story: Story, mark: str) -> None:
    """An ask was refused, and nothing else."""
    without(story, mark)
    ask = Ask(mark, "turn", SESSION, None, SAYS)
    story.history.attempts.append(Attempt(ask, 0, 1, 409, {"code": "turn_in_progress"}))


def fork(story: Story) -> Any:
    """What was forked, to be changed."""
    return story.truth.sessions[FORK]


def without(story: Story, mark: str) -> None:
    """Nobody did this."""
    story.history.attempts[:] = [each for each in story.history.attempts if each.ask.mark != mark]


def end(story: Story, seq: int, **changes: object) -> None:
    """A turn's end, in the log, the row and the audit, and as readers saw it."""
    story.events[seq - 1].update(changes)
    index = story.events[seq - 1]["turn_index"]
    for told in (story.row(index), story.stored.audit[index - 1]):
        told.update(changes)
    for reading in story.history.readings:
        for at, text in enumerate(reading.texts):
            if json.loads(text)["seq"] == seq:
                reading.texts[at] = json.dumps(story.events[seq - 1])


SABOTAGES: dict[str, list[Sabotage]] = {
    # the log
    "seq is contiguous from 1": [lambda story: story.events.pop(3), lambda story: story.events[3].update(seq=3)],
    "a close is told once, and last": [
        lambda story: story.events.pop(),
        lambda story: story.events.append({**story.events[0], "seq": 20}),
    ],
    "turns are counted from 1": [lambda story: [each.update(turn_index=9) for each in story.events[16:18]]],
    "a turn begins once": [lambda story: story.events[2].update(type="turn_start", prompt="ask ok: ")],
    "a turn begins with its start": [lambda story: story.events[1].update(type="plan")],
    "a turn ends once, and last": [
        lambda story: story.events[4].update(type="plan"),
        lambda story: story.events[3].update(story.events[4], seq=4),
    ],
    "a turn that has not begun says nothing": [lambda story: story.events[14].update(type="text", content="x")],
    "a turn has one prompt": [lambda story: story.events[1].update(prompt="something else")],
    "one turn at a time, in order": [
        lambda story: story.events[12].update(type="turn_start"),
        lambda story: [each.update(turn_index=11 - each["turn_index"]) for each in story.events[11:16]],
    ],
    "a turn's events lie in it": [lambda story: story.events[7].update(turn_index=1)],
    "a turn has a row": [lambda story: story.stored.rows.pop()],
    "no turn is left running": [lambda story: story.row(3).update(status="running")],
    "row and log tell the same": [
        lambda story: story.row(3).update(stop_reason="end_turn"),
        lambda story: story.row(1).update(ok=False),
    ],
    "a failed turn has an error, no other has": [lambda story: story.row(3).update(error=None)],
    "every turn is in the audit once": [
        lambda story: story.stored.audit.pop(),
        lambda story: story.stored.audit.append(story.stored.audit[0]),
    ],
    "a fork has a source": [lambda story: fork(story).forked_from.update(session_id="sess_b")],
    "a fork has its source's history": [
        lambda story: fork(story).events[2].update(content="another"),
        lambda story: fork(story).forked_from.update(turn_index=2),
    ],
    "a fork's turns are its source's": [lambda story: fork(story).rows[0].update(stop_reason="refusal")],
    # readers
    "what was read is there": [lambda story: story.history.readings.append(Reading("z", "sess_b", "sse", 0))],
    "a reader goes on where it stood": [lambda story: setattr(story.history.readings[1], "after", 6)],
    "no gap, nothing twice": [
        lambda story: story.history.readings[0].texts.pop(3),
        lambda story: story.history.readings[0].texts.insert(3, story.history.readings[0].texts[2]),
        lambda story: story.history.readings[2].texts.reverse(),
    ],
    "what was seen is in the log": [
        lambda story: swap(story, 0, 3, content="another"),
        lambda story: [story.events.pop(), story.events.pop()],
    ],
    "the same bytes for all": [lambda story: story.history.readings[0].texts.__setitem__(0, _spaced(story))],
    "a reader gets to the end": [lambda story: story.history.readings[1].texts.pop()],
    "a turn's stream is the turn": [
        lambda story: story.history.readings[3].texts.pop(1),
        lambda story: story.history.readings[3].texts.append(story.history.readings[2].texts[5]),
    ],
    # asks
    "what runs was asked": [lambda story: without(story, "killed")],
    "one ask, one turn": [lambda story: story.events[9].update(prompt="ask ok: ")],
    "a prompt reaches an agent once": [lambda story: story.truth.heard.append(Heard(SESSION, "ok"))],
    "what an agent hears is a turn that began": [
        lambda story: story.truth.heard.append(Heard(SESSION, "waits")),
        lambda story: story.truth.heard.append(Heard(SESSION, "lost")),
        lambda story: story.truth.heard.append(Heard(RUN, "lost")),
    ],
    "an answer of the contract": [
        lambda story: answer(story, "killed", status=500, body={"code": "internal"}),
        lambda story: answer(story, "killed", body={"code": "agent_failed"}),
        lambda story: answer(story, "opens", status=502, body={"code": "agent_failed"}),
    ],
    "the same answer again": [
        lambda story: story.change("ok", duration_ms=1),
        lambda story: answer(story, "ok", status=502, body={"turn_index": 1, "session_id": SESSION}),
    ],
    "an answer that was given before says so": [lambda story: answer(story, "ok", replayed=False)],
    "a first answer is no replay": [lambda story: answer(story, "killed", replayed=True)],
    "a refused prompt is nowhere": [
        lambda story: refuse(story, "ok"),
        lambda story: story.truth.heard.append(Heard(SESSION, "refused")),
    ],
    "without a key one asks once": [
        lambda story: story.history.attempts.append(story.history.attempts[story.attempt("run")])
    ],
    "an accepted prompt is a turn": [
        lambda story: answer(story, "lost", status=202, body={"session_id": SESSION, "turn_index": 7})
    ],
    "an answer names its turn": [lambda story: story.change("killed", turn_index=2)],
    "what is ok was heard once": [lambda story: story.truth.heard.pop(0)],
    "a stream ends with its turn": [lambda story: story.change("cancelled", duration_ms=7)],
    "an answer has its end's status": [
        lambda story: answer(story, "killed", status=200),
        lambda story: story.change("hangs", code="interrupted"),
    ],
    "an answer tells what is logged": [
        lambda story: story.change("killed", stop_reason="refusal"),
        lambda story: story.change("run", ok=False),
        lambda story: story.change("run", usage={}),
    ],
    "an answer is the log, folded": [lambda story: story.change("ok", events=[])],
    "one ask, one session": [lambda story: story.truth.sessions[RUN].meta.update(mark="opens")],
    "a refused session is not there": [
        lambda story: story.history.attempts.__setitem__(
            slice(0, 3), [Attempt(Ask("opens", "session"), 0, 1, 503, {"code": "shutting_down"})]
        )
    ],
    "a session that was opened is there": [lambda story: story.change("opens", session_id="sess_b")],
    "a record is of a turn": [lambda story: story.events[4].update(type="plan")],
    "a record tells what is logged": [lambda story: story.change("looks", stop_reason="refusal")],
    "a record has the turn's events": [lambda story: story.change("looks", events=[])],
    # ends
    "never ok for what did not end well": [
        lambda story: end(story, 14, ok=True),
        lambda story: end(story, 11, ok=True),
        lambda story: end(story, 14, stop_reason="end_turn", ok=True),
    ],
    "ok for what ended well": [lambda story: end(story, 5, ok=False)],
    "an ok turn is whole": [lambda story: story.events[3].update(content="")],
    "an end has a cause": [
        lambda story: without(story, "cancels"),
        lambda story: story.history.strikes.pop(0),
        lambda story: story.history.strikes.pop(1),
        lambda story: story.history.strikes.__setitem__(0, Strike("agent", 1, 2, SESSION)),
        lambda story: story.history.strikes.__setitem__(0, Strike("agent", 10_500, 10_501, RUN)),
        lambda story: end(story, 5, stop_reason="refusal", ok=False),
        lambda story: answer(story, "hangs", ask=Ask("hangs", "turn", SESSION, None, SAYS)),
    ],
    "a deadline is not early": [lambda story: end(story, 14, duration_ms=400)],
    # interference
    "a cancel that is told has happened": [lambda story: story.change("cancels", turn_index=1)],
    "a decision that is told is logged": [
        lambda story: story.change("decides", decision="reject"),
        lambda story: answer(
            story, "decides", status=409, body={"code": "permission_answered", "decision": "allow", "by": "z"}
        ),
    ],
    "the first answer counts": [
        lambda story: story.history.attempts.append(
            Attempt(
                Ask("late", "permission", SESSION, permission_id="p"),
                0,
                1,
                200,
                story.history.attempts[story.attempt("decides")].body,
            )
        )
    ],
    "no request outlives its turn": [lambda story: story.events[7].update(type="plan")],
    "every request is answered": [
        lambda story: [story.events[6].update(turn_index=None), story.events[7].update(type="plan")]
    ],
    "an answer is of a request, once": [lambda story: story.events[6].update(type="plan")],
    "an answer is in its request's turn": [lambda story: story.events[6].update(turn_index=None)],
    "a request expires no sooner than it says": [lambda story: story.events[7].update(by="expiry")],
}


def _spaced(story: Story) -> str:
    return json.dumps(story.events[0], indent=0)


def test_a_good_story_breaks_no_law() -> None:
    story = good()
    assert judge(story.history, story.truth) == []


def test_every_law_is_broken_by_a_sabotage() -> None:
    named = set()
    for path in (Path(__file__).parent / "laws").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in TELLING:
                named |= {each.value for each in node.args[:1] if isinstance(each, ast.Constant)}
    assert named == SABOTAGES.keys()


@pytest.mark.guarantee
@pytest.mark.parametrize(
    ("law", "number"), [(law, number) for law, each in SABOTAGES.items() for number in range(len(each))]
)
def test_sabotage_is_found(law: str, number: int) -> None:
    story = good()
    SABOTAGES[law][number](story)
    assert law in {violation.law for violation in judge(story.history, story.truth)}
