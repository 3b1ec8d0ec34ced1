"""Starts agents on this machine (`base.AgentHost`)."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from clawdforge.server.agents import aiming, available, homes, launch, leftovers, watchdog
from clawdforge.server.agents.acp import AcpAgent, Forgetful
from clawdforge.server.agents.base import Agent, AgentOwner, OpenAgent
from clawdforge.server.agents.entry import AgentEntry
from clawdforge.server.agents.failures import not_started
from clawdforge.server.agents.homes import AgentHome
from clawdforge.server.agents.launch import Launch
from clawdforge.server.agents.offers import Offers
from clawdforge.server.agents.programs import CannotBeShown
from clawdforge.server.agents.spawner import Spawner
from clawdforge.server.agents.uncut import uncut
from clawdforge.server.data_dir import tell_if_full
from clawdforge.server.sandbox import limits
from clawdforge.server.sandbox.base import Network, Space, Wall
from clawdforge.server.sandbox.bounds import Bounds
from clawdforge.server.workspaces.copying import Limits, TooMuch
from clawdforge.wire.agents import AgentInfo, AgentOptions
from clawdforge.wire.problems import Problem, invalid
from clawdforge.wire.sandbox import Sandbox

_log: Final = logging.getLogger(__name__)


class LocalHost:
    """Agents as children of this process.

    Args:
        entries: the catalog.
        data_dir: the gateway's data directory, absolute.
        gateway_id: names this data directory's gateway, over all its lives; children carry it as a mark.
        wall: what each of them stands behind.
        network: what they reach of the world.
        bounds: what each session may take.
        line_limit_bytes: the longest line that an agent may write.
    """

    def __init__(
        self,
        entries: Mapping[str, AgentEntry],
        data_dir: Path,
        gateway_id: str,
        wall: Wall,
        network: Network,
        bounds: Bounds,
        line_limit_bytes: int,
    ) -> None:
        self._entries = {name: aiming.placed(entry, network) for name, entry in entries.items()}
        self._data_dir = data_dir
        self._gateway_id = gateway_id
        self._line_limit_bytes = line_limit_bytes
        self._wall = wall
        self._network = network
        self._bounds = bounds
        self._spawner = Spawner(wall, bounds)
        self._offers: dict[str, Offers] = {}

    @property
    def sandbox(self) -> Sandbox:
        """What agents stand behind (see `base.AgentHost`)."""
        return Sandbox(self._wall.level, self._network)

    @property
    def agent_uid(self) -> int | None:
        """Whom a session's directory must belong to (see `base.AgentHost`)."""
        return self._wall.agent_uid

    def agent_cwd(self, workspace: Path) -> str:
        """How an agent sees its session's directory (see `base.AgentHost`)."""
        return self._wall.view(Space(workspace, workspace, workspace)).workspace

    def end_leftovers(self) -> list[int]:
        """Ends every process that an earlier life of this gateway left running. Returns their pids.

        Their temporary directories go too.
        """
        places = [self._data_dir / name for name in ("workspaces", "homes", "tmp")]
        pids = leftovers.end(self._gateway_id, places, self._wall.agent_uid)
        homes.clear_leftovers(self._data_dir)
        return sorted({*pids, *self._bounds.left})

    def infos(self) -> list[AgentInfo]:
        """Every agent of the catalog, by name."""
        return [self._info(self._entries[name]) for name in sorted(self._entries)]

    def info(self, name: str) -> AgentInfo | None:
        """One agent, or None where the catalog has none of that name."""
        entry = self._entries.get(name)
        return None if entry is None else self._info(entry)

    def check(self, options: AgentOptions) -> None:
        """Refuses what cannot be started (see `base.AgentHost`)."""
        self._argv(self._entry(options))

    def copy_memory(
        self, agent: str, session_id: str, to_session_id: str, limits: Limits, go_on: Callable[[], None]
    ) -> None:
        """Copies what an agent keeps of a conversation (see `base.AgentHost`)."""
        entry, home = self._entries[agent], AgentHome(self._data_dir, to_session_id, self._wall.agent_uid)
        try:
            home.copy_from(session_id, limits, go_on, entry.login_files, entry.resets, entry.keeps)
        except TooMuch as error:
            _log.warning("the home of %s is not copied: too many %s", session_id, error)

    async def open(self, request: OpenAgent, owner: AgentOwner) -> Agent:
        """Starts an agent (see `base.AgentHost`)."""
        entry = self._entry(request.options)
        began = time.monotonic()
        try:
            return await self._open(entry, request, owner)
        except Forgetful as lost:
            rest_s = request.startup_timeout_s - (time.monotonic() - began)
            if rest_s <= 0:
                raise
            _log.warning("the agent of %s could not recall its conversation: %s", request.session_id, lost)
            return await self._open(entry, replace(request, memory=None, startup_timeout_s=rest_s), owner)

    async def _open(self, entry: AgentEntry, request: OpenAgent, owner: AgentOwner) -> AcpAgent:
        home = AgentHome(self._data_dir, request.session_id, self._wall.agent_uid)
        prepared = await self._prepared(entry, request, home)
        agent = await AcpAgent.open(
            self._spawner,
            entry,
            request,
            prepared,
            home,
            owner,
            mark=f"{self._gateway_id}:{request.session_id}",
            line_limit_bytes=self._line_limit_bytes,
        )
        if not agent.recalled:  # one that recalls need not tell again what it offers
            self._offers[entry.name] = agent.offers
        return agent

    def close(self) -> None:
        """Lets go of the threads; every agent must have been ended before."""
        self._spawner.close()

    def _info(self, entry: AgentEntry) -> AgentInfo:
        info = available.info(entry, self._data_dir, self._offers.get(entry.name))
        if info.available:
            try:
                argv = available.find(entry, self._data_dir)
                launch.visible(entry, argv, self._data_dir, self._wall)
            except (available.Unavailable, CannotBeShown) as problem:
                return replace(info, available=False, reason=str(problem))
        return info

    async def _prepared(self, entry: AgentEntry, request: OpenAgent, home: AgentHome) -> Launch:
        preparing = asyncio.ensure_future(asyncio.to_thread(self._prepare, entry, request, home))
        try:
            prepared = await asyncio.shield(preparing)
            return await launch.led(prepared, home.tmp / "door", self._wall.agent_uid)
        except BaseException as error:
            await uncut(_undone(preparing, home))
            if isinstance(error, OSError):
                tell_if_full(error)
                raise not_started(error) from error
            raise

    def _prepare(self, entry: AgentEntry, request: OpenAgent, home: AgentHome) -> Launch:
        self._check_room(request.workspace, home)
        argv, options = self._argv(entry), request.options
        prepared = launch.prepare(entry, argv, options, home, request.workspace, self._wall, self._network)
        return replace(prepared, space=replace(prepared.space, limits=self._bounds.rest))

    def _check_room(self, workspace: Path, home: AgentHome) -> None:
        """Starts nothing that would be ended at once for what its session holds already."""
        may_hold_bytes = self._bounds.limits.workspace_bytes
        if may_hold_bytes is None:
            return
        try:
            held_bytes = watchdog.held((workspace, home.path, home.tmp))
        except OSError:  # no files are left to look with: nor to start with, which says so
            return
        if held_bytes is None or held_bytes > may_hold_bytes:
            full = limits.workspace(may_hold_bytes, held_bytes)
            detail = f"{full.detail}: it takes turns again when they hold less"
            raise Problem("storage_full", detail, limit=full.limit)

    def _entry(self, options: AgentOptions) -> AgentEntry:
        """The agent that these options are for, and can be given to. Raises Problem `invalid`."""
        entry = self._entries.get(options.agent)
        if entry is None:
            known = ", ".join(sorted(self._entries))
            raise invalid(f"no agent is called {options.agent!r}; known are: {known}", "agent")
        launch.check_options(entry, options)
        return entry

    def _argv(self, entry: AgentEntry) -> tuple[str, ...]:
        try:
            return available.find(entry, self._data_dir)
        except available.Unavailable as problem:
            raise Problem("agent_unavailable", f"the agent {entry.name!r} cannot run here: {problem}") from problem


async def _undone(preparing: asyncio.Future[Launch], home: AgentHome) -> None:
    await asyncio.wait({preparing})  # a thread cannot be cut off
    await asyncio.to_thread(home.clear)
