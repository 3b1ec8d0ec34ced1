"""A session in a database of its own on virtual time, its agents and its disk in the hands of a test."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clawdforge.server.agents.base import Agent, AgentFailed, Answered, Attachment, Failed, OpenAgent, Prompt
from clawdforge.server.agents.usage import Told
from clawdforge.server.apps.audit import Audit
from clawdforge.server.events.rounds import Rounds
from clawdforge.server.sessions import state
from clawdforge.server.sessions.asked import Ask
from clawdforge.server.sessions.session import LiveSession
from clawdforge.server.sessions.turn import Turn
from clawdforge.server.store.base import StorageError
from clawdforge.server.store.sqlite import SqliteStore
from clawdforge.server.store.stored import SessionRow
from clawdforge.server.store.writes import AddSession, Change
from clawdforge.wire.events import Draft
from clawdforge.wire.sandbox import Sandbox
from harness.databases import lay_new
from harness.turn_model import AGAIN, DEADLINES
from harness.virtual_time import VirtualLoop


class BreakableStore:
    """The real store, until it is broken: then nothing can be written any more."""

    def __init__(self, store: SqliteStore, loop: VirtualLoop) -> None:
        self._store = store
        self._loop = loop
        self.broken = False

    def write(self, *changes: Change, flush: bool = True) -> asyncio.Future[None]:
        if not self.broken:
            return self._loop.watched(self._store.write(*changes, flush=True))
        failed: asyncio.Future[None] = self._loop.create_future()
        failed.set_exception(StorageError("the disk is gone"))
        return failed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class Actor:
    """An agent that does what the test says, and keeps in mind what it was told (`agents.base.Agent`)."""

    def __init__(self, heard: list[int]) -> None:
        self.usable = True
        self.recalled = False
        self.agent_session_id: str | None = None
        self.history_bytes = 100_000
        self.ended: bool | None = None
        self._heard = heard

    def here(self, path: str) -> str | None:
        return path

    def hand_over(self, conversation: str) -> None: ...

    def prompt(self, prompt: Prompt) -> None:
        assert self.usable and self.ended is None
        self._heard.append(int(prompt.text) if prompt.text.isdigit() else AGAIN)

    def cancel(self) -> None:
        assert self.ended is None

    def answer(self, *_: Any) -> None:
        raise AssertionError("it never asks")

    def take_usage(self) -> Told:
        return Told()

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    async def turn_over(self) -> None:
        assert self.ended is None

    async def end(self, *, now: bool) -> None:
        assert self.ended is None, "it is ended twice"
        self.ended = now


class Host:
    """Starts an actor when the test says so (`agents.base.AgentHost`)."""

    def __init__(self) -> None:
        self.sandbox = Sandbox("none", "open")
        self.agent_uid: int | None = None
        self.heard: list[int] = []
        self.actors: list[Actor] = []
        self.start: asyncio.Future[None] | None = None

    def agent_cwd(self, workspace: Path) -> str:
        return str(workspace)

    def check(self, options: Any) -> None: ...

    def copy_memory(self, *_: Any) -> None:
        raise AssertionError("nobody forks it")

    async def open(self, request: OpenAgent, owner: Any) -> Agent:
        self.start = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(request.startup_timeout_s):
                await self.start
        except TimeoutError:
            raise AgentFailed(Failed("it was too slow", phase="startup")) from None
        finally:
            self.start = None
        self.actors.append(Actor(self.heard))
        return self.actors[-1]


class Stage:
    """A session in a database of its own, and what may happen to it."""

    def __init__(self) -> None:
        self.loop = VirtualLoop()
        self.root = Path(tempfile.mkdtemp())
        self.host = Host()
        self.answers: list[asyncio.Future[Any]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self.files: asyncio.Future[Sequence[Attachment]] | None = None
        self.closing: asyncio.Task[None] | None = None
        self.loop.run(self._open())

    async def _open(self) -> None:
        real = await SqliteStore.open(lay_new(self.root / "clawdforge.db"), durability="process")
        self.store = BreakableStore(real, self.loop)
        cwd = str(self.root)
        row = SessionRow("sess_1", "app_1", "app", "session", "fake", cwd, {}, {}, created_at=1)
        await self.store.write(AddSession(row))
        self.live = LiveSession(
            row,
            store=self.store,
            host=self.host,
            audit=Audit(keep_prompts=False),
            rounds=Rounds(self.store, lambda _: False),
            last_seq=0,
            policy="deny",
            permission_timeout_s=60,
            private=self.root,
            on_idle=lambda _: None,
        )

    async def ask(self, *, files: bool, schema: dict[str, Any] | None) -> None:
        ask: Ask[Any] = Ask("sess_1", Turn(Prompt(str(len(self.answers)), (), schema), DEADLINES))
        self.live.prompts.let_in(ask)
        work = self.live.prompts.run(ask, files=self._laid if files else None)
        self.answers.append(ask.answer)
        self._tasks.append(asyncio.create_task(ask.told(work)))

    async def _laid(self) -> Sequence[Attachment]:
        self.files = asyncio.get_running_loop().create_future()
        return await self.files

    async def close(self) -> None:
        """As `sessions.registry` does it for a client."""
        self.live.prompts.stop(state.cancelled())
        self.closing = self.live.closing = asyncio.create_task(self._closed(close=True))

    async def stop(self) -> None:
        """As `sessions.registry` does it when the gateway stops."""
        self.live.prompts.stop_queued(state.never_begun())
        self.live.prompts.stop(state.interrupted())
        self.closing = asyncio.create_task(self._closed(close=False))

    async def _closed(self, *, close: bool) -> None:
        if unfinished := [task for task in self._tasks if not task.done()]:
            await asyncio.wait(unfinished)
        await (self.live.close("client") if close else self.live.end_agent(now=False))

    def say(self, draft: Draft | None) -> None:
        self.live.on_activity()
        if draft is not None:
            self.live.on_update(draft)

    def happen(self, causes: Sequence[str]) -> None:
        """Lets the session hear of it, as it would in the gateway, before it can do anything about the first."""
        for cause in causes:
            self._happen(cause)

    def _happen(self, cause: str) -> None:
        match cause:
            case "cancel":
                self.live.prompts.stop(state.cancelled())
            case "interrupt":
                self.live.prompts.stop(state.interrupted())
            case "exit":
                self.host.actors[-1].usable = False
                self.live.on_exit(Failed("it is gone", exit_code=1))
            case "fail" | "break":
                self.live.on_prompt_end(Failed("its model failed", alive=cause == "fail"))
            case stop_reason:
                self.live.on_prompt_end(Answered(stop_reason))

    def leave(self) -> None:
        """Ends what is left, whatever was checked before."""
        self.loop.call(self.live.prompts.stop, state.interrupted())
        self.loop.run(self.live.end_agent(now=True))
        self.loop.settle()
        self.loop.run(self.store.close())
        self.loop.run(self.loop.shutdown_default_executor())
        self.loop.close()
        shutil.rmtree(self.root)
