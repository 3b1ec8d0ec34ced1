"""What happens to a session at the same moment as something else."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from clawdforge.server.apps.keys import Once
from clawdforge.server.sessions import admission
from clawdforge.server.sessions.changes import SessionChanges
from clawdforge.server.store.writes import RemoveSession
from clawdforge.wire.problems import Problem
from clawdforge.wire.runs import RunRequest
from clawdforge.wire.sessions import SessionCreate
from clawdforge.wire.turns import TurnRequest
from harness.rooms import APP, DEADLINE_S, rooms


async def test_a_session_that_is_used_while_it_is_looked_up_is_not_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with rooms(tmp_path, session_ttl_secs=1000) as room, asyncio.timeout(DEADLINE_S):
        created, _ = await room.sessions.create(APP, SessionCreate(agent="fake"))
        now = time.monotonic() + 1001
        monkeypatch.setattr(admission, "time", SimpleNamespace(monotonic=lambda: now))
        looked_up = room.store.session

        async def meanwhile(session_id: str) -> Any:
            asked = await room.sessions.turn(APP, session_id, TurnRequest(prompt="a short one"))
            agent = room.host.actors[-1]
            await agent.prompted()
            agent.say("done")
            agent.finish()
            assert (await asked.answer).ok
            return await looked_up(session_id)

        monkeypatch.setattr(room.store, "session", meanwhile, raising=False)
        await room.sessions.expire()
        assert (await room.sessions.get(APP, created.session_id)).live
        now += 1001
        monkeypatch.setattr(room.store, "session", looked_up)
        await room.sessions.expire()
        assert (await room.sessions.get(APP, created.session_id)).close_reason == "idle"


async def test_a_key_whose_run_is_removed_runs_nothing_and_says_why(tmp_path: Path) -> None:
    once = Once("key", b"f" * 32)
    async with rooms(tmp_path) as room, asyncio.timeout(DEADLINE_S):
        asked = await room.sessions.run(APP, RunRequest(prompt="once", agent="fake"), once=once)
        await asked.accepted
        agent = await room.host.actor(1)
        await agent.prompted()
        agent.finish()
        await asked.answer
        await room.store.write(RemoveSession(asked.session_id))
        with pytest.raises(Problem, match="Idempotency-Key has made is removed") as told:
            await room.sessions.run(APP, RunRequest(prompt="once", agent="fake"), once=once)
        assert told.value.code == "not_found"
        assert len(room.host.actors) == 1


async def test_a_turn_whose_workspace_is_looked_at_for_long_can_be_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with rooms(tmp_path) as room, asyncio.timeout(DEADLINE_S):
        created, _ = await room.sessions.create(APP, SessionCreate(agent="fake"))
        with monkeypatch.context() as large:
            never = asyncio.get_running_loop().create_future()
            large.setattr(SessionChanges, "begin", lambda *_: never)
            asked = await room.sessions.turn(APP, created.session_id, TurnRequest(prompt="not heard"))
            await asked.accepted
            told, _ = await room.sessions.cancel(APP, created.session_id)
        assert told.cancelled
        assert (await asked.answer).stop_reason == "cancelled"
        assert room.host.actors[0].prompts.empty()
