"""Turns whose end the gateway could not tell, by whatever fault of its own: they end all the same, once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from clawdforge.server.agents.base import Answered
from clawdforge.server.sessions import usage
from clawdforge.server.sessions.turns import Turns
from clawdforge.server.store.base import StorageError
from clawdforge.server.store.stored import TurnRow
from clawdforge.server.store.writes import StartTurn
from clawdforge.wire.sessions import SessionCreate
from clawdforge.wire.turns import TurnRequest
from harness.rooms import APP, DEADLINE_S, Rooms, rooms


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
        second = await room.host.actor(2)
        await second.prompted()
        second.say("well")
        second.finish()
        assert (await asked.answer).ok


async def lose_turns(data_dir: Path, sessions: int) -> list[str]:
    """A life of the gateway that leaves each of its sessions with a turn that runs, and one that waits."""
    async with rooms(data_dir) as room:
        made = [await room.sessions.create(APP, SessionCreate(agent="fake")) for _ in range(sessions)]
        for created, _ in made:
            await room.store.write(StartTurn(TurnRow(created.session_id, 1, "running", 1000)))
            await room.store.write(StartTurn(TurnRow(created.session_id, 2, "queued", 1000)))
        return [created.session_id for created, _ in made]


async def ends(room: Rooms, session_id: str) -> list[str | None]:
    """How the turns of a session ended, by the `turn_end` events of its log."""
    events = await room.store.events(session_id)
    return [event.data["stop_reason"] for event in events if event.type == "turn_end"]


async def test_what_an_earlier_life_left_is_ended_once(tmp_path: Path) -> None:
    lost = await lose_turns(tmp_path, sessions=3)
    for _ in range(2):
        async with rooms(tmp_path) as room:
            assert await room.store.unfinished_turns() == []
            assert [await ends(room, each) for each in lost] == [["interrupted"] * 2] * 3


async def test_a_disk_that_is_full_at_the_start_keeps_nobody_from_reading(tmp_path: Path) -> None:
    (lost,) = await lose_turns(tmp_path, sessions=1)
    async with rooms(tmp_path, full=True) as room:
        assert (await room.sessions.get(APP, lost)).turn_count == 2
        with pytest.raises(StorageError) as told:
            await room.sessions.turn(APP, lost, TurnRequest(prompt="next"))
        assert told.value.full
        room.store.full = False
        await room.sessions.end_lost_turns()
        assert await ends(room, lost) == ["interrupted"] * 2


async def test_whoever_comes_while_lost_turns_are_ended_finds_them_ended_once(tmp_path: Path) -> None:
    lost = await lose_turns(tmp_path, sessions=3)
    async with rooms(tmp_path, full=True) as room, asyncio.timeout(DEADLINE_S):
        room.store.full = False
        prompts = (room.sessions.turn(APP, each, TurnRequest(prompt="next")) for each in lost)
        _, _, *asked = await asyncio.gather(
            room.sessions.end_lost_turns(), room.sessions.end_lost_turns(), *prompts
        )
        for each in asked:
            assert (await each.accepted).turn_index == 3
        assert [await ends(room, each) for each in lost] == [["interrupted"] * 2] * 3
