"""Sessions and runs come to be: their row, their directories, a session's first agent. What fails leaves nothing.

Must not know prompts.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, Final

from clawdforge.server.agents.base import AgentFailed, AgentHost
from clawdforge.server.apps.keys import Keys, Note, Once
from clawdforge.server.apps.registry import App
from clawdforge.server.data_dir import tell_if_full
from clawdforge.server.events.log import epoch_ms
from clawdforge.server.sessions import answers, tasks, verdicts
from clawdforge.server.sessions.admission import Admission
from clawdforge.server.sessions.live import LiveSessions
from clawdforge.server.sessions.session import LiveSession
from clawdforge.server.settings import Settings
from clawdforge.server.store.stored import SessionKind, SessionRow
from clawdforge.server.store.writes import AddSession
from clawdforge.server.workspaces import paths
from clawdforge.wire.agents import AgentOptions
from clawdforge.wire.sessions import SessionCreate, SessionCreated

_log: Final = logging.getLogger(__name__)


def new_id() -> str:
    """128 random bits as text, for ids that cannot be guessed."""
    return secrets.token_hex(16)


class Opening:
    """Makes the sessions and runs of one gateway."""

    def __init__(
        self,
        settings: Settings,
        host: AgentHost,
        live: LiveSessions,
        admission: Admission,
        keys: Keys,
        new_id: Callable[[], str],
    ) -> None:
        self._settings = settings
        self._host = host
        self._live = live
        self._admission = admission
        self._keys = keys
        self._new_id = new_id

    async def session(self, app: App, request: SessionCreate, once: Once | None) -> tuple[SessionCreated, bool]:
        """Opens a session (see `registry.Sessions.create`)."""
        return await self._keys.do(app.app_id, once, SessionCreated, partial(self._create, app, request))

    async def _create(self, app: App, request: SessionCreate, note: Note | None) -> SessionCreated:
        self._host.check(request)
        await verdicts.check_schema(request.schema)
        self._admission.admit_session(app.app_id)
        row = self.new_row(app, request, "session", request.meta or {})
        agent_cwd = self._host.agent_cwd(Path(row.cwd))
        created = SessionCreated(
            True, row.session_id, row.agent, row.created_at, row.cwd, agent_cwd, self._host.sandbox
        )
        changes = [] if note is None else [note(created)]
        self._admission.opened(row)
        try:
            live = await self.made(row)
            live.log.hold()
            await live.wake(request.startup_timeout_secs or self._settings.startup_timeout_secs)
            self._admission.used(row.session_id)  # else an agent that took its time to start would sleep at once
            await tasks.stored(live.log.commit(AddSession(live.row), *changes))
        except BaseException as error:
            await self.unmake(row)
            if isinstance(error, AgentFailed):
                raise answers.start_problem(error) from error
            raise
        return created

    def new_row(self, app: App, options: AgentOptions, kind: SessionKind, meta: dict[str, Any]) -> SessionRow:
        """The row of a session or run that is to be."""
        session_id = f"{'sess' if kind == 'session' else 'run'}_{self._new_id()}"
        chosen = {field.name: getattr(options, field.name) for field in fields(AgentOptions)}
        return SessionRow(
            session_id=session_id,
            app_id=app.app_id,
            app_name=app.name,
            kind=kind,
            agent=options.agent,
            cwd=str(paths.workspace_of(self._settings.data_dir, session_id)),
            options={name: value for name, value in chosen.items() if value is not None},
            meta=meta,
            created_at=epoch_ms() // 1000,
        )

    async def made(self, row: SessionRow) -> LiveSession:
        """The live session of a new row, with its directories. Raises OSError, Problem `storage_full`."""
        try:
            await asyncio.to_thread(
                paths.make_workspace, self._settings.data_dir, row.session_id, self._host.agent_uid
            )
        except OSError as error:
            tell_if_full(error)
            raise
        return self._live.add(row)

    async def unmake(self, row: SessionRow) -> None:
        """Takes back a session or run that never was."""
        self._admission.closed(row.session_id)
        live = self._live.remove(row.session_id)
        if live is not None:
            await live.end_agent(now=True)
        try:
            await asyncio.to_thread(paths.remove_session, self._settings.data_dir, row.session_id)
        except OSError as error:  # the caller is told why there is no session, not this
            _log.error("the directories of %s could not be removed: %s", row.session_id, error)
