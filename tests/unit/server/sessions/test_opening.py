"""Sessions come to be, whatever happens meanwhile: there is one whole session, or none."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from clawdforge.server.agents.base import Agent, AgentOwner, OpenAgent
from clawdforge.server.apps.keys import Once
from clawdforge.server.sessions import admission
from clawdforge.server.store.writes import AddFork, AddSession
from clawdforge.wire.sessions import SessionCreate, SessionFork
from harness.rooms import APP, DEADLINE_S, rooms

ONCE = Once("key", b"f" * 32)


async def test_a_session_that_is_being_stored_when_the_gateway_stops_is_whole(tmp_path: Path) -> None:
    async with rooms(tmp_path) as room, asyncio.timeout(DEADLINE_S):
        room.store.slow = lambda change: isinstance(change, AddSession)
        asked = asyncio.create_task(room.sessions.create(APP, SessionCreate(agent="fake"), ONCE))
        await room.store.reached.wait()
        stopping = asyncio.create_task(room.sessions.shutdown(0))
        hurried = asyncio.create_task(room.sessions.shutdown(0))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        room.store.go_on.set()
        await asyncio.gather(stopping, hurried)
        created, _ = await asked
        assert room.host.actors[0].ended
    async with rooms(tmp_path) as room:
        assert (await room.sessions.get(APP, created.session_id)).live
        assert Path(created.cwd).is_dir()


async def test_a_fork_that_is_being_stored_when_the_gateway_stops_is_whole(tmp_path: Path) -> None:
    async with rooms(tmp_path) as room, asyncio.timeout(DEADLINE_S):
        source, _ = await room.sessions.create(APP, SessionCreate(agent="fake"))
        room.store.slow = lambda change: isinstance(change, AddFork)
        asked = asyncio.create_task(room.sessions.fork(APP, source.session_id, SessionFork(), ONCE))
        await room.store.reached.wait()
        stopping = asyncio.create_task(room.sessions.shutdown(0))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        room.store.go_on.set()
        await stopping
        forked, _ = await asked
    async with rooms(tmp_path) as room:
        assert (await room.sessions.get(APP, forked.session_id)).live
        assert Path(forked.cwd).is_dir()


async def test_an_agent_that_took_long_to_start_has_not_been_idle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with rooms(tmp_path, agent_idle_secs=10) as room, asyncio.timeout(DEADLINE_S):
        now, at_once = time.monotonic(), room.host.open
        monkeypatch.setattr(admission, "time", SimpleNamespace(monotonic=lambda: now))

        async def slowly(request: OpenAgent, owner: AgentOwner) -> Agent:
            nonlocal now
            now += 11
            return await at_once(request, owner)

        monkeypatch.setattr(room.host, "open", slowly)
        created, _ = await room.sessions.create(APP, SessionCreate(agent="fake"))
        room.sessions.sleep_idle()
        assert (live := room.sessions.live(created.session_id)) is not None
        assert live.agent is room.host.actors[0]
        now += 11
        room.sessions.sleep_idle()
        assert live.agent is None
