"""One live session: its agent while there is one, its prompts, and its log.

What the agent tells becomes events here. Exists only while the session has an agent or a turn; everything that
must last is in the store.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from clawdforge.server.agents.base import Agent, AgentHost, Failed, PromptEnd
from clawdforge.server.apps.audit import Audit
from clawdforge.server.events.log import SessionLog, epoch_ms
from clawdforge.server.events.rounds import Rounds
from clawdforge.server.sessions import state, waking
from clawdforge.server.sessions.asking import Asking
from clawdforge.server.sessions.changes import SessionChanges
from clawdforge.server.sessions.prompts import Prompts
from clawdforge.server.sessions.turn import Turn
from clawdforge.server.store.base import StorageError, Store
from clawdforge.server.store.stored import SessionRow
from clawdforge.server.store.writes import CloseSession, NoteAgentSession
from clawdforge.wire import events
from clawdforge.wire.agents import AgentOptions, PermissionPolicy
from clawdforge.wire.events import Draft, Event
from clawdforge.wire.permissions import PermissionAsk

_log: Final = logging.getLogger(__name__)


class LiveSession:
    """A session that has work to do (`agents.base.AgentOwner`).

    Attributes:
        row: the session as it is stored.
        agent: its agent, while one is awake.
        prompts: those that were let in and have not ended.
        usable: False once its log has failed: the session must be read anew from the store.
        closing: the task that closes it; from then on it takes no more turns.
        asking: what its agent asks.
        forks: how often it is being copied now; it takes no turn meanwhile.
    """

    def __init__(
        self,
        row: SessionRow,
        *,
        store: Store,
        host: AgentHost,
        audit: Audit,
        rounds: Rounds,
        last_seq: int,
        policy: PermissionPolicy,
        permission_timeout_s: float,
        private: Path,
        on_idle: Callable[[LiveSession], None],
        changes: SessionChanges | None = None,
    ) -> None:
        self.row: SessionRow = row
        self.agent: Agent | None = None
        self.usable: bool = True
        self.closing: asyncio.Task[None] | None = None
        self.forks = 0
        self.options: AgentOptions = AgentOptions(**row.options)
        self.workspace: Path = Path(row.cwd)
        self.log: SessionLog = SessionLog(
            store,
            row.session_id,
            last_seq,
            rounds=rounds,
            on_placed=self._on_placed,
            on_pressure=self._on_pressure,
            on_failure=self._on_log_failure,
            on_settled=lambda: self._on_idle(self),
        )
        self.asking: Asking = Asking(policy, self.workspace, private, self.log, permission_timeout_s)
        self._store = store
        self._host = host
        self.prompts: Prompts = Prompts(self, audit, changes)
        self._on_idle = on_idle
        self._ending: set[asyncio.Task[None]] = set()
        self._log_over = False  # the close has its place in the log: nothing follows on it

    # --- the agent -----------------------------------------------------------------------------------------

    async def wake(self, startup_timeout_s: float) -> Agent:
        """Starts an agent for this session, and notes it in the log.

        Raises:
            AgentFailed: it could not be started.
            Problem: what was chosen for it cannot be, or is refused by it.
        """
        turn_index = 1 if self.prompts.turn is None else self.prompts.turn.index
        if turn_index == 1:
            self._remember(None)  # what was not told anything has nothing to be woken with
        agent = await self._host.open(waking.opened(self.row, self.options, startup_timeout_s, turn_index), self)
        self.agent = agent
        try:
            how = await waking.remind(agent, self._store, self.row.session_id, turn_index)
        except BaseException:
            await self.end_agent(now=True)  # it would go on as if nothing had been said
            raise
        self._note(Draft(events.AGENT_START, {"how": how, "sandbox": self._host.sandbox.level}))
        self._remember(agent.agent_session_id)
        return agent

    def sleep(self) -> None:
        """Ends the agent, unless a turn needs it: the next one wakes it."""
        if not self.busy and self.closing is None:
            self._drop_agent(now=False)

    def _remember(self, agent_session_id: str | None) -> None:
        """Has the agent's own id of the conversation stored; before the first turn, with the session itself."""
        if agent_session_id == self.row.agent_session_id or self.row.kind == "run":
            return
        self.row = dataclasses.replace(self.row, agent_session_id=agent_session_id)
        if self.prompts.turn is not None:
            self.log.commit(NoteAgentSession(self.row.session_id, agent_session_id))

    async def end_agent(self, *, now: bool) -> None:
        """Ends the agent, if there is one, with all that it started; also waits for one that is ending."""
        self._drop_agent(now=now)
        if self._ending:
            await asyncio.wait(self._ending)

    def _drop_agent(self, *, now: bool) -> None:
        agent, self.agent = self.agent, None
        if agent is not None:
            task = asyncio.ensure_future(agent.end(now=now))
            self._ending.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._ending.discard(task)
        if (error := task.exception()) is not None:
            _log.error("ending the agent of %s failed", self.row.session_id, exc_info=error)
        self._on_idle(self)

    @property
    def busy(self) -> bool:
        """Whether a turn is on its way."""
        return bool(self.prompts.asks)

    @property
    def idle(self) -> bool:
        """Whether it has neither an agent nor a turn, nor an event to be stored: then nothing needs it."""
        closing = self.closing is not None and not self.closing.done()
        needed = self.agent is not None or self.busy or self.forks or closing
        return not needed and not self._ending and self.log.settled

    async def close(self, reason: str) -> None:
        """Ends the agent, whatever becomes of the rest, then closes the session in the store. A turn must not run.

        Raises:
            StorageError: it could not be stored, and the session is still open.
        """
        await self.end_agent(now=False)
        if self.row.closed_at is None:
            closed, change = self.sealed(reason)
            try:
                await self.log.commit(change, drafts=[Draft(events.SESSION_CLOSED, {"reason": reason})])
            except StorageError as error:
                raise self.log.failure or error from None
            self.row = closed

    def sealed(self, reason: str) -> tuple[SessionRow, CloseSession]:
        """The session's end: its row then, and the change; nothing that its agent says follows in the log."""
        self._log_over = True
        now = epoch_ms() // 1000
        row = dataclasses.replace(self.row, closed_at=now, close_reason=reason)
        return row, CloseSession(self.row.session_id, now, reason)

    def on_turn_over(self) -> None:
        """A prompt has left."""
        if not self.usable:
            self._drop_agent(now=True)
        self._on_idle(self)

    # --- what the agent tells (AgentOwner) -----------------------------------------------------------------

    def on_update(self, draft: Draft) -> None:
        """Something happened: it is an event, and part of the turn's answer while one runs."""
        self._note(draft)

    def on_activity(self) -> None:
        """The agent lives."""
        if self.prompts.turn is not None:
            self.prompts.turn.on_sign()

    def on_permission(self, ask: PermissionAsk) -> None:
        """The agent asks. One that is being ended gets no answer."""
        if not self._log_over and self.agent is not None:
            self.asking.take(ask, self.agent, self._told_of)

    def on_permission_dropped(self, permission_id: str) -> None:
        """The agent waits for an answer no more."""
        self.asking.dropped(permission_id)

    def on_prompt_end(self, end: PromptEnd) -> None:
        """The agent is done with the prompt."""
        if self.agent is not None:
            self._remember(self.agent.agent_session_id)
        if self.prompts.turn is not None:
            self.prompts.turn.on_prompt_end(end)

    def on_exit(self, failure: Failed) -> None:
        """The agent is gone by itself: a running turn ends by it, what it left behind is cleared away."""
        if self.prompts.turn is not None and self.prompts.turn.listening:
            self.prompts.turn.on_prompt_end(failure)
        else:
            _log.warning("the agent of %s is gone: %s", self.row.session_id, failure.detail)
            self._drop_agent(now=True)

    def _note(self, draft: Draft) -> None:
        if self._log_over:
            return
        turn = self._told_of
        self.log.append(draft, None if turn is None else turn.index)

    @property
    def _told_of(self) -> Turn | None:
        """The turn that what the agent tells now belongs to."""
        return self.prompts.turn if self.prompts.turn is not None and self.prompts.turn.listening else None

    def _on_placed(self, event: Event) -> None:
        if self.prompts.turn is not None and event.turn_index == self.prompts.turn.index:
            self.prompts.turn.fold.add(event)

    def _on_pressure(self, pressed: bool) -> None:
        if self.agent is not None:
            self.agent.pause() if pressed else self.agent.resume()

    def _on_log_failure(self, error: BaseException) -> None:
        """Events are lost: the turn cannot be told truthfully any more, so it does not go on."""
        _log.error("the events of %s could not be stored: %s", self.row.session_id, error)
        self.usable = False
        self.prompts.stop(state.interrupted())
        if self.prompts.turn is None:
            self._drop_agent(now=True)
