"""What happens to a session at the same moment as something else."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from clawdforge.server.sessions import admission
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
