"""When a result is asked for again: what may happen while it is judged, and while that is stored."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from clawdforge.server.agents.base import Answered, Failed
from clawdforge.server.sessions import repairs, state, verdicts
from clawdforge.server.sessions.asked import Asked
from clawdforge.server.sessions.state import TurnEnd
from clawdforge.server.sessions.verdicts import Verdict
from clawdforge.server.store.base import StorageError
from clawdforge.server.store.writes import AppendEvents, Change
from clawdforge.wire import events
from clawdforge.wire.problems import Problem
from clawdforge.wire.sessions import SessionCreate
from clawdforge.wire.turns import TurnRequest, TurnResult
from harness.rooms import APP, DEADLINE_S, Actor, Rooms, rooms

SCHEMA = {"type": "object"}
WRONG = Verdict(False, ["/: it is wrong"])
SAID = [{"type": "text", "content": "x"}]


class Judge:
    """Judges when the test says so."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.go_on = asyncio.Event()
        self.verdict = WRONG

    async def reach(self, _result: Any, _schema: Any) -> Verdict:
        self.reached.set()
        await self.go_on.wait()
        return self.verdict


class Stage:
    """A session whose agent has answered, while its answer is judged."""

    def __init__(self, room: Rooms, judge: Judge, session_id: str, asked: Asked[TurnResult]) -> None:
        self.room = room
        self.judge = judge
        self.session_id = session_id
        self.asked = asked

    @property
    def actor(self) -> Actor:
        return self.room.host.actors[0]

    def stop(self, end: TurnEnd) -> bool:
        """Somebody wants its end; whether this is what ends it."""
        live = self.room.sessions.live(self.session_id)
        assert live is not None and live.prompts.turn is not None
        return live.prompts.turn.stop(end)

    def die(self) -> None:
        """Its agent goes by itself."""
        self.actor.usable = False
        self.actor.owner.on_exit(Failed("it is gone", exit_code=1))

    def hold_back(self) -> None:
        """From now on the gateway waits for the store's word that a repair is stored."""
        self.room.store.slow = is_repair

    async def answer(self) -> TurnResult:
        self.judge.go_on.set()
        return await self.asked.answer


def is_repair(change: Change) -> bool:
    return isinstance(change, AppendEvents) and any(each.type == events.SCHEMA_REPAIR for each in change.events)


@pytest.fixture
async def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    judge = Judge()
    monkeypatch.setattr(verdicts, "reach", judge.reach)
    async with rooms(tmp_path) as room, asyncio.timeout(DEADLINE_S):
        created, _ = await room.sessions.create(APP, SessionCreate(agent="fake"))
        request = TurnRequest(prompt="go", schema=SCHEMA)
        asked = await room.sessions.turn(APP, created.session_id, request)
        actor = room.host.actors[0]
        await actor.prompted()
        actor.say("wrong")
        actor.finish()
        await judge.reached.wait()
        yield Stage(room, judge, created.session_id, asked)
        judge.go_on.set()


async def test_it_is_asked_for_with_what_is_wrong_with_it(stage: Stage) -> None:
    stage.judge.go_on.set()
    prompt = await stage.actor.prompted()
    assert (prompt.schema, prompt.files) == (SCHEMA, ())
    assert "- /: it is wrong" in prompt.text
    stage.actor.say("still wrong")
    stage.actor.finish()
    answer = await stage.answer()
    assert (answer.ok, answer.result, answer.schema_valid, answer.schema_repaired) == (
        *(True, "still wrong"),
        *(False, True),
    )


@pytest.mark.parametrize("how", ["cancelled", "timed out", "gone", "undecided"])
async def test_what_ends_a_turn_while_its_result_is_judged_leaves_it_as_it_is(stage: Stage, how: str) -> None:
    match how:
        case "cancelled":
            assert stage.stop(state.cancelled()) is False
        case "timed out":
            assert stage.stop(state.timed_out("total", "it took too long")) is False
        case "gone":
            stage.die()
        case _:
            stage.judge.verdict = Verdict(False, ["who knows"], decided=False)
    answer = await stage.answer()
    assert (answer.ok, answer.stop_reason, answer.result) == (True, "end_turn", "wrong")
    assert (answer.schema_valid, answer.schema_repaired) == (False, None)
    assert stage.actor.prompts.empty()


@pytest.mark.guarantee
@pytest.mark.parametrize("how", ["cancelled", "gone"])
async def test_no_agent_hears_of_a_repair_that_is_over_before_it_is_stored(stage: Stage, how: str) -> None:
    stage.hold_back()
    stage.judge.go_on.set()
    await stage.room.store.reached.wait()
    if how == "gone":
        stage.die()
    else:
        assert stage.stop(state.cancelled()) is True
    stage.room.store.go_on.set()
    if how == "gone":
        with pytest.raises(Problem, match="it is gone"):
            await stage.answer()
    else:
        assert (await stage.answer()).stop_reason == "cancelled"
    assert stage.actor.prompts.empty()


async def test_a_repair_that_cannot_be_stored_is_not_sent(stage: Stage) -> None:
    stage.room.store.full = True
    with pytest.raises(StorageError):
        await stage.answer()
    assert stage.actor.prompts.empty()
    stage.room.store.full = False


@pytest.mark.parametrize(
    ("end", "folded", "verdict", "wanted"),
    [
        (Answered("end_turn"), SAID, WRONG, True),
        (Answered("end_turn"), SAID, None, False),
        (Answered("end_turn"), SAID, Verdict(True, []), False),
        (Answered("end_turn"), SAID, Verdict(False, ["?"], decided=False), False),
        (Answered("end_turn"), [], WRONG, False),
        (Answered("max_tokens"), SAID, WRONG, False),
        (Answered("refusal"), SAID, WRONG, False),
        (Answered("cancelled"), SAID, WRONG, False),
    ],
)
def test_it_is_asked_for_where_the_turn_went_well_and_the_agent_can_mend_it(
    end: Answered, folded: list[dict[str, Any]], verdict: Verdict | None, wanted: bool
) -> None:
    assert repairs.wanted(state.by_agent(end), folded, verdict) is wanted
