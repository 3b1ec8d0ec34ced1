"""The rooms of a gateway below HTTP, with a real store on a real disk, and agents that do what a test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clawdforge.server.agents.base import Agent, AgentOwner, Answered, OpenAgent, Prompt, PromptEnd
from clawdforge.server.agents.usage import Told
from clawdforge.server.apps.audit import Audit
from clawdforge.server.apps.keys import Keys
from clawdforge.server.apps.registry import App
from clawdforge.server.events.rounds import Rounds
from clawdforge.server.files.uploads import Uploads
from clawdforge.server.sessions.registry import Sessions
from clawdforge.server.settings import Settings
from clawdforge.server.store.base import StorageError
from clawdforge.server.store.sqlite import SqliteStore
from clawdforge.server.store.writes import Change
from clawdforge.wire.events import Draft
from clawdforge.wire.sandbox import Sandbox

DEADLINE_S = 20
APP = App("app_1", "one", (), 1)


class Actor:
    """An agent that a test plays (`agents.base.Agent`)."""

    def __init__(self, request: OpenAgent, owner: AgentOwner) -> None:
        self.request = request
        self.owner = owner
        self.usable = True
        self.recalled = False
        self.agent_session_id: str | None = "conversation"
        self.history_bytes = 100_000
        self.prompts: asyncio.Queue[Prompt] = asyncio.Queue()
        self.ahead: list[str] = []
        self.cancelled = asyncio.Event()
        self.ended: list[bool] = []

    async def prompted(self) -> Prompt:
        """The next prompt, once it has come."""
        async with asyncio.timeout(DEADLINE_S):
            return await self.prompts.get()

    def say(self, text: str) -> None:
        """Says something."""
        self.owner.on_update(Draft("text", {"content": text}))

    def finish(self, end: PromptEnd = Answered("end_turn")) -> None:  # noqa: B008 - a frozen value
        """Is done with its prompt."""
        self.owner.on_prompt_end(end)

    def hand_over(self, conversation: str) -> None:
        self.ahead.append(conversation)

    def here(self, path: str) -> str | None:
        return path

    def prompt(self, prompt: Prompt) -> None:
        self.prompts.put_nowait(prompt)

    def cancel(self) -> None:
        self.cancelled.set()

    def answer(self, permission_id: str, place: int | None) -> None: ...

    def take_usage(self) -> Told:
        return Told()

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    async def turn_over(self) -> None: ...

    async def end(self, *, now: bool) -> None:
        self.ended.append(now)


class Host:
    """Starts actors (`agents.base.AgentHost`). `failing` is raised in place of the next ones."""

    def __init__(self) -> None:
        self.sandbox = Sandbox("none", "open")
        self.agent_uid: int | None = None
        self.actors: list[Actor] = []
        self.failing: BaseException | None = None
        self._started = asyncio.Condition()

    async def actor(self, number: int) -> Actor:
        """The one that is started as this, counted from 1, once it is: a turn is accepted before that."""
        async with asyncio.timeout(DEADLINE_S), self._started:
            await self._started.wait_for(lambda: len(self.actors) >= number)
        return self.actors[number - 1]

    def agent_cwd(self, workspace: Path) -> str:
        return str(workspace)

    def check(self, options: Any) -> None: ...

    def copy_memory(self, *_: Any) -> None: ...

    async def open(self, request: OpenAgent, owner: AgentOwner) -> Agent:
        if self.failing is not None:
            raise self.failing
        started = Actor(request, owner)
        async with self._started:
            self.actors.append(started)
            self._started.notify_all()
        return started


class SlowStore:
    """The real store, which a test can have withhold its word that something is stored: `slow` says of what.

    While it is `full` nothing is stored.
    """

    def __init__(self, store: SqliteStore, *, full: bool) -> None:
        self._store = store
        self.full = full
        self.slow: Callable[[Change], bool] = lambda _: False
        self.reached = asyncio.Event()
        self.go_on = asyncio.Event()

    def write(self, *changes: Change, flush: bool = True) -> asyncio.Future[None]:
        if self.full:
            refused: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            refused.set_exception(StorageError("There is no room left.", full=True))
            return refused
        stored = self._store.write(*changes, flush=flush)
        if not any(map(self.slow, changes)):
            return stored
        self.reached.set()
        return asyncio.ensure_future(self._later(stored))

    async def _later(self, stored: asyncio.Future[None]) -> None:
        await self.go_on.wait()
        await stored

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


@dataclass
class Rooms:
    """What a test works with."""

    sessions: Sessions
    store: SlowStore
    host: Host
    keys: Keys
    settings: Settings


@asynccontextmanager
async def rooms(data_dir: Path, *, full: bool = False, **chosen: Any) -> AsyncIterator[Rooms]:
    """The rooms of one life of a gateway on this directory, its disk `full` or not; what runs is ended."""
    settings = Settings(data_dir=data_dir, durability="process", **chosen)
    store = SlowStore(await SqliteStore.open(data_dir / "clawdforge.db", durability="process"), full=full)
    keys = Keys(store)
    host = Host()
    sessions = Sessions(
        settings,
        store,
        host,
        await Uploads.open(store, data_dir, settings.max_upload_bytes),
        Audit(keep_prompts=False),
        Rounds(store, lambda _: False),
        keys,
    )
    await sessions.recover()
    try:
        yield Rooms(sessions, store, host, keys, settings)
    finally:
        store.go_on.set()
        await sessions.shutdown(0)
        await store.close()
