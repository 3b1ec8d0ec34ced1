"""Sessions are forked: a new one with the same history, a copy of the workspace, and of what its agent remembers.

The source takes no turn meanwhile, and its agent is put to sleep: so what is copied is whole, and nobody writes
into it. What fails leaves nothing. The fork's agent starts with its first turn. Must not know how an agent keeps a
conversation.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final
from weakref import WeakValueDictionary

from clawdforge.server.agents.base import AgentHost
from clawdforge.server.apps.keys import Keys, Note, Once
from clawdforge.server.apps.registry import App
from clawdforge.server.data_dir import tell_if_full
from clawdforge.server.sessions import answers, tasks
from clawdforge.server.sessions.admission import Admission
from clawdforge.server.sessions.live import LiveSessions
from clawdforge.server.sessions.opening import Opening
from clawdforge.server.sessions.session import LiveSession
from clawdforge.server.settings import Settings
from clawdforge.server.store.base import StorageError, Store
from clawdforge.server.store.stored import SessionRow
from clawdforge.server.store.writes import AddFork, CopyEvents, DropCopy
from clawdforge.server.workspaces import copying, entries, paths
from clawdforge.wire import events
from clawdforge.wire.agents import AgentOptions
from clawdforge.wire.problems import Problem
from clawdforge.wire.sessions import SessionFork, SessionForked

AT_ONCE: Final = 2
"""Workspaces that are copied at the same time, of one app one: each takes a thread, and the disk."""

_PIECE_EVENTS: Final = 500
_PIECE_BYTES: Final = 256 * 1024
"""So much of a log is copied in one commit: others wait for that, a few milliseconds."""


class Forking:
    """Forks the sessions of one gateway."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        host: AgentHost,
        live: LiveSessions,
        admission: Admission,
        keys: Keys,
        opening: Opening,
    ) -> None:
        self._settings = settings
        self._store = store
        self._host = host
        self._live = live
        self._admission = admission
        self._keys = keys
        self._opening = opening
        self._copying = asyncio.Semaphore(AT_ONCE)
        self._copying_of: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()  # by apps

    async def fork(
        self, app: App, source: SessionRow, request: SessionFork, once: Once | None
    ) -> tuple[SessionForked, bool]:
        """Forks a session (see `registry.Sessions.fork`)."""
        return await self._keys.do(app.app_id, once, SessionForked, partial(self._fork, app, source, request))

    async def _fork(self, app: App, source: SessionRow, request: SessionFork, note: Note | None) -> SessionForked:
        options = AgentOptions(**source.options)
        self._host.check(options)
        self._admission.admit_session(app.app_id)
        with self._held(await self._live.take_up(source)) as live:
            row = self._row(app, live.row, options, request)
            told = self._told(row)
            changes = [] if note is None else [note(told)]
            self._admission.opened(row)
            try:
                # What an agent writes down late is there once it has ended, and nothing is written meanwhile.
                await live.end_agent(now=False)
                await self._copied(live.row, row)
                await self._copy_log(live.row, row)
                await tasks.stored(self._store.write(AddFork(source.session_id, row), *changes))
            except BaseException:
                await self._opening.unmake(row)
                with suppress(StorageError):  # then it goes when the store is opened again
                    await self._store.write(DropCopy(row.session_id))
                raise
        return told

    @contextmanager
    def _held(self, live: LiveSession) -> Iterator[LiveSession]:
        """Keeps a session from taking turns. Raises Problem `turn_in_progress`."""
        try:
            if live.busy:
                raise answers.turn_in_progress(live.row.session_id)
            live.forks += 1
            try:
                yield live
            finally:
                live.forks -= 1
        finally:
            self._live.let_go(live)

    def _row(self, app: App, source: SessionRow, options: AgentOptions, request: SessionFork) -> SessionRow:
        meta = source.meta if request.meta is None else request.meta
        return replace(
            self._opening.new_row(app, options, "session", meta),
            last_turn_at=source.last_turn_at,
            turn_count=source.turn_count,
            agent_session_id=source.agent_session_id,
            forked_from={
                "session_id": source.session_id,
                "turn_index": source.turn_count,
                "agent_session_id": source.agent_session_id,
            },
        )

    def _told(self, row: SessionRow) -> SessionForked:
        return SessionForked(
            True,
            row.session_id,
            row.agent,
            row.created_at,
            row.cwd,
            self._host.agent_cwd(Path(row.cwd)),
            self._host.sandbox,
            answers.forked_from(row),
        )

    # --- the log -------------------------------------------------------------------------------------------

    async def _copy_log(self, source: SessionRow, row: SessionRow) -> None:
        """Copies all events but the close, in pieces that nobody sees yet."""
        last = await self._store.last_seq(source.session_id)
        after = 0
        while after < last:
            page = await self._store.encoded_events(
                source.session_id, after=after, limit=_PIECE_EVENTS, limit_bytes=_PIECE_BYTES
            )
            page = [each for each in page if each.seq <= last and each.type != events.SESSION_CLOSED]
            if not page:
                break
            size = sum(len(each.data) for each in page)
            upto = page[-1].seq
            await self._store.write(CopyEvents(source.session_id, row.session_id, after, upto, size))
            after = upto

    # --- files ---------------------------------------------------------------------------------------------

    async def _copied(self, source: SessionRow, row: SessionRow) -> None:
        """Copies the workspace, and what the agent keeps.

        Raises:
            Problem: `storage_full`, `too_large`, `overloaded` where a program holds a file.
            OSError: something cannot be read or written.
        """
        async with self._copying_of.setdefault(row.app_id, asyncio.Lock()), self._copying:
            unwanted = _Flag()
            work = asyncio.ensure_future(asyncio.to_thread(self._copy, source, row, unwanted))
            try:
                await asyncio.shield(work)
            except asyncio.CancelledError:
                unwanted.set = True
                await asyncio.wait({work})  # a thread cannot be cut off: it looks before every piece
                raise
            except copying.TooMuch as error:
                raise Problem("too_large", f"this session is too large to be forked: too many {error}") from None
            except BlockingIOError:
                raise Problem("overloaded", entries.HELD, retry_after_s=1) from None
            except OSError as error:
                tell_if_full(error)
                raise

    def _copy(self, source: SessionRow, row: SessionRow, unwanted: _Flag) -> None:
        data_dir, owner = self._settings.data_dir, self._host.agent_uid
        limits = copying.Limits(self._settings.workspace_bytes or None)
        target = paths.make_workspace(data_dir, row.session_id)  # its agent's once all is there
        copying.copy(Path(source.cwd), target, owner, limits, unwanted.go_on)
        if owner is not None:
            os.chown(target, owner, owner)
        self._host.copy_memory(row.agent, source.session_id, row.session_id, limits, unwanted.go_on)


class _Flag:
    """Whether nobody waits for a copy any more."""

    def __init__(self) -> None:
        self.set = False

    def go_on(self) -> None:
        if self.set:
            raise _Unwanted


class _Unwanted(Exception):
    """Nobody waits for the copy any more."""
