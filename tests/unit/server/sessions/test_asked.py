"""What is left of prompts once they are over: nothing, however they ended."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path

import pytest

from clawdforge.server.agents.base import Answered, Failed, PromptEnd
from clawdforge.server.sessions.turn import Turn
from clawdforge.wire.problems import Problem
from clawdforge.wire.sessions import SessionCreate
from clawdforge.wire.turns import TurnRequest
from harness.rooms import APP, DEADLINE_S, Rooms, rooms


async def play(room: Rooms, session_id: str, end: PromptEnd, *, waited_for: bool) -> str:
    """One turn that ends so. Returns what its caller is told, who may have gone."""
    asked = await room.sessions.turn(APP, session_id, TurnRequest(prompt="a prompt"))
    agent = room.host.actors[-1]
    await agent.prompted()
    agent.say("an answer")
    agent.finish(end)
    if not waited_for:
        await asyncio.wait({asked.answer})
        return "nothing"
    try:
        return (await asked.answer).stop_reason
    except Problem as problem:
        return problem.with_traceback(None).code  # as the door to HTTP does it


@pytest.mark.parametrize("waited_for", [True, False])
@pytest.mark.parametrize(
    ("end", "told"), [(Answered("end_turn"), "end_turn"), (Failed("its model failed", alive=True), "agent_failed")]
)
async def test_a_turn_that_is_over_is_gone_at_once(
    end: PromptEnd, told: str, waited_for: bool, tmp_path: Path
) -> None:
    async with rooms(tmp_path) as room, asyncio.timeout(DEADLINE_S):
        created, _ = await room.sessions.create(APP, SessionCreate(agent="fake"))
        gc.collect()
        gc.disable()
        try:
            heard = [await play(room, created.session_id, end, waited_for=waited_for) for _ in range(3)]
            await room.sessions.shutdown(0)  # the last one's task has ended
            left = [each for each in gc.get_objects() if type(each) is Turn]
        finally:
            gc.enable()
    assert heard == [told if waited_for else "nothing"] * 3
    assert left == []
