"""Puts the gateway together: opens its rooms in order, and closes them in the reverse order."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final

from clawdforge.server.agents.catalog import catalog
from clawdforge.server.agents.host import LocalHost
from clawdforge.server.agents.tree import adopt_orphans
from clawdforge.server.apps.addresses import Address
from clawdforge.server.apps.admin import AdminToken
from clawdforge.server.apps.audit import Audit
from clawdforge.server.apps.keys import Keys
from clawdforge.server.apps.registry import App, AppRegistry
from clawdforge.server.apps.usage import UsageReports
from clawdforge.server.data_dir import DataDirectory
from clawdforge.server.events.fanout import Fanout
from clawdforge.server.events.rounds import Rounds
from clawdforge.server.files.uploads import Uploads
from clawdforge.server.http.auth import Gate
from clawdforge.server.http.context import Context
from clawdforge.server.http.openapi import Api
from clawdforge.server.http.routes import application
from clawdforge.server.http.stream import Streams
from clawdforge.server.http.trees import Trees
from clawdforge.server.sandbox import limits, probe
from clawdforge.server.sandbox.bounds import find as find_bounds
from clawdforge.server.sessions.answering import Answering
from clawdforge.server.sessions.reaper import Reaper
from clawdforge.server.sessions.registry import Sessions
from clawdforge.server.sessions.runs import Runs
from clawdforge.server.sessions.turns import Turns
from clawdforge.server.settings import Settings
from clawdforge.server.store.sqlite import FILE_NAME, SqliteStore
from clawdforge.server.workspaces.space import Space

_log: Final = logging.getLogger(__name__)

THREADS: Final = 16
"""What takes long (copies, trees, files that are laid) takes seven of them at most: what is short finds one free.
By itself asyncio has six where there are two cores."""


class Gateway:
    """A gateway that is up. Made by `open`; `close` must follow.

    Attributes:
        asgi: what the HTTP server calls.
        admin_token: how the admin token is kept.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings: Settings = settings
        self.asgi: Api
        self.admin_token: AdminToken
        self._sessions: Sessions
        self._streams: Streams
        self._closing = AsyncExitStack()

    @classmethod
    async def open(cls, settings: Settings) -> Gateway:
        """Opens the rooms of a gateway on its data directory.

        Raises:
            DirectoryBusy: another gateway owns the data directory.
            StoreUnusable: the database cannot be used.
            WallUnavailable: agents cannot be walled in here as the settings want it.
            ValueError: an agent of the settings is not complete.
        """
        self = cls(settings)
        try:
            await self._open()
        except BaseException:
            await self._closing.aclose()
            raise
        return self

    async def drain(self, drain_s: float) -> None:
        """Takes nothing new; lets running turns end for so long, ends them `interrupted`, then every stream."""
        await self._sessions.shutdown(drain_s)
        self._streams.end()

    async def close(self) -> None:
        """Closes every room. `drain` must have been called before."""
        await self._closing.aclose()

    async def _open(self) -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS))
        entries = catalog(self.settings.agents)
        directory = DataDirectory(self.settings.data_dir)
        self._closing.callback(directory.release)
        settings = self.settings = self.settings.model_copy(update={"data_dir": directory.path})
        wall = await asyncio.to_thread(
            probe.wall, settings.sandbox, directory.path, settings.agent_uid, settings.network
        )
        self._closing.callback(wall.close)
        store = await SqliteStore.open(directory.path / FILE_NAME, durability=settings.durability)
        self._closing.push_async_callback(store.close)
        adopt_orphans()
        bounds = await asyncio.to_thread(find_bounds, limits.asked(settings), directory.gateway_id)
        self._closing.callback(bounds.close)
        host = LocalHost(
            entries,
            directory.path,
            directory.gateway_id,
            wall,
            settings.network,
            bounds,
            settings.max_agent_line_bytes,
        )
        self._closing.callback(host.close)
        if left := await asyncio.to_thread(host.end_leftovers):
            _log.warning("ended %d processes that an earlier life of this gateway had left", len(left))
        apps = await AppRegistry.open(store)
        self.admin_token = AdminToken.open(directory.path, settings.admin_token)
        uploads = await Uploads.open(store, directory.path, settings.max_upload_bytes)
        audit = Audit(keep_prompts=settings.audit_prompts)
        fanout = Fanout(store)
        keys = Keys(store)
        rounds = Rounds(store, fanout.followed)
        self._sessions = Sessions(settings, store, host, uploads, audit, rounds, keys)
        await self._sessions.recover()
        reaper = Reaper(settings, store, self._sessions, uploads, keys)
        self._closing.push_async_callback(reaper.stop)
        gate = Gate(_Tokens(apps, self.admin_token), settings)
        self._streams = Streams(fanout, settings)
        self.asgi = application(
            Context(
                settings=settings,
                gate=gate,
                apps=apps,
                sessions=self._sessions,
                runs=Runs(store),
                turns=Turns(store),
                answering=Answering(store, self._sessions, keys),
                keys=keys,
                usage=UsageReports(store),
                streams=self._streams,
                uploads=uploads,
                host=host,
                trees=Trees(),
                space=Space(settings.workspace_bytes),
            )
        )


@dataclass(frozen=True, slots=True)
class _Tokens:
    """All that opens a door of the gateway (`http.auth.Registry`)."""

    apps: AppRegistry
    admin_token: AdminToken

    def authenticate(self, token: bytes) -> App | None:
        return self.apps.authenticate(token)

    def is_admin(self, token: bytes) -> bool:
        return self.admin_token.is_admin(token)

    def admits(self, app: App, address: Address) -> bool:
        return self.apps.admits(app, address)
