"""Turns whose end the gateway could not tell, by whatever fault of its own: they end all the same, once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from clawdforge.server.agents.base import Answered
from clawdforge.server.sessions import usage
from clawdforge.server.sessions.turns import Turns
from clawdforge.wire.sessions import SessionCreate
from clawdforge.wire.turns import TurnRequest
from harness.rooms import APP, DEADLINE_S, rooms


async def test_a_fault_at_the_end_of_a_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(*_: Any) -> None:
        raise RuntimeError("a fault of ours")

    async with rooms(tmp_path) as room, asyncio.timeout(DEADLINE_S):
        created, _ = await room.sessions.create(APP, SessionCreate(agent="fake"))
        with monkeypatch.context() as fault:
            fault.setattr(usage, "of_turn", faulty)
            asked = await room.sessions.turn(APP, created.session_id, TurnRequest(prompt="first"))
            first = room.host.actors[-1]
            await first.prompted()
            first.finish(Answered("end_turn"))
            with pytest.raises(RuntimeError):
                await asked.answer
        asked = await room.sessions.turn(APP, created.session_id, TurnRequest(prompt="second"))
        row = await room.sessions.find(APP, created.session_id)
        assert (await Turns(room.store).get(row, 1)).stop_reason == "interrupted"
        await asked.accepted
        assert first.ended == [True]
        second = room.host.actors[-1]
        await second.prompted()
        second.say("well")
        second.finish()
        assert (await asked.answer).ok
