"""One live session: its agent while there is one, its turn while one runs, and its log.

What the agent tells becomes events here, a turn's events become its answer. Exists only while the session has an
agent or a turn; everything that must last is in the store.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Final

from clawdforge.server.agents.base import (
    Agent,
    AgentHost,
    Attachment,
    Failed,
    PromptEnd,
)
from clawdforge.server.apps.audit import Audit
from clawdforge.server.events.log import SessionLog, epoch_ms
from clawdforge.server.events.rounds import Rounds
from clawdforge.server.sessions import answers, laying, results, state, usage, verdicts, waking
from clawdforge.server.sessions.asked import Accepted, Ask
from clawdforge.server.sessions.asking import Asking
from clawdforge.server.sessions.changes import SessionChanges
from clawdforge.server.sessions.state import TurnEnd
from clawdforge.server.sessions.turn import Turn
from clawdforge.server.store.base import (
    AddSession,
    BeginTurn,
    Change,
    CloseSession,
    EndTurn,
    NoteAgentSession,
    SessionRow,
    StartTurn,
    StorageError,
    Store,
    TurnRow,
)
from clawdforge.wire import events
from clawdforge.wire.agents import AgentOptions, PermissionPolicy
from clawdforge.wire.events import Draft, Event
from clawdforge.wire.permissions import PermissionAsk

_log: Final = logging.getLogger(__name__)
Files = Callable[[], Coroutine[Any, Any, Sequence[Attachment]]]
"""Lays a turn's files into the workspace."""


class LiveSession:
    """A session that has work to do (`agents.base.AgentOwner`).

    Attributes:
        row: the session as it is stored.
        agent: its agent, while one is awake.
        turn: the turn that runs, from where it is let through until its end is stored.
        asks: the prompts that were let in and have not ended, the running one first.
        usable: False once its log has failed: the session must be read anew from the store.
        closing: the task that closes it; from then on it takes no more turns.
        asking: what its agent asks.
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
        self.row = row
        self.agent: Agent | None = None
        self.turn: Turn | None = None
        self.asks: list[Ask[Any]] = []
        self.usable = True
        self.closing: asyncio.Task[None] | None = None
        self.options = AgentOptions(**row.options)
        self.workspace = Path(row.cwd)
        self.log = SessionLog(
            store,
            row.session_id,
            last_seq,
            rounds=rounds,
            on_placed=self._on_placed,
            on_pressure=self._on_pressure,
            on_failure=self._on_log_failure,
            on_settled=lambda: self._on_idle(self),
        )
        self.asking = Asking(policy, self.workspace, private, self.log, permission_timeout_s)
        self._store = store
        self._host = host
        self._audit = audit
        self._changes = changes
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
        turn_index = 1 if self.turn is None else self.turn.index
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
        if self.turn is not None:
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
        return bool(self.asks)

    @property
    def idle(self) -> bool:
        """Whether it has neither an agent nor a turn, nor an event to be stored: then nothing needs it."""
        closing = self.closing is not None and not self.closing.done()
        return self.agent is None and not self.busy and not closing and not self._ending and self.log.settled

    # --- turns ---------------------------------------------------------------------------------------------

    def let_in(self, ask: Ask[Any]) -> None:
        """Gives a prompt its place behind those that are here; `run_turn` must follow."""
        if self.asks:
            ask.before = self.asks[-1]
        else:
            ask.go.set_result(None)
        self.asks.append(ask)

    def ask_of(self, turn_index: int) -> Ask[Any] | None:
        """The prompt of a turn that was accepted and has not ended."""
        return next((each for each in self.asks if each.turn.index == turn_index), None)

    async def run_turn(
        self,
        ask: Ask[Any],
        *,
        files: Files | None = None,
        first: AddSession | None = None,
        note: Callable[[int], Change] | None = None,
    ) -> tuple[TurnRow, list[dict[str, Any]]]:
        """Runs one turn, from its acceptance to where its end is stored.

        Args:
            ask: what `let_in` has given.
            files: lays its files into the workspace, within its deadline.
            first: the session's own row, where this turn is what makes it: a run. It is closed by the turn's end.
            note: what else is stored with the turn, told its number.

        Returns:
            The turn as it is stored, and its folded events.

        Raises:
            Problem: the session is being closed, or the files could not be laid: it never was.
            StorageError: the turn's start or end could not be stored.
        """
        turn = ask.turn
        try:
            if ask.before is not None:  # numbers are given in order
                await asyncio.wait({ask.before.accepted})
            if self.closing is not None:
                raise answers.closed()
            row = await self._accepted(ask, files, first, note)
            if row.status == "queued" and await turn.queue(ask.go):
                row = await self._begun(turn, row)
            end = turn.end if row.status == "queued" else await self._played(turn)
            return await self._finish(turn, row, end, closing=first is not None)
        except StorageError as error:
            raise self.log.failure or error from None
        finally:
            turn.close()
            if self.turn is turn:
                self.turn = None
                if self._changes is not None:
                    self._changes.end()
            if not self.usable:
                self._drop_agent(now=True)
            self._leave(ask)
            self._on_idle(self)

    def _leave(self, ask: Ask[Any]) -> None:
        self.asks.remove(ask)
        ask.before = None  # else each would hold the one before it, for ever
        if self.asks and not self.asks[0].go.done():
            self.asks[0].go.set_result(None)

    async def _accepted(
        self,
        ask: Ask[Any],
        files: Files | None,
        first: AddSession | None,
        note: Callable[[int], Change] | None,
    ) -> TurnRow:
        """Makes the turn durable, before its agent hears of it: a prompt that was run is never forgotten."""
        turn = ask.turn
        queued = not ask.go.done()
        if not queued:
            self._begin(turn)
        if files is not None:
            if self._changes is not None:
                await self._changes.settled()  # they are no change of the turn before
            await turn.gather(files())
        index = self.row.turn_count + 1
        now_ms = epoch_ms()
        row = TurnRow(self.row.session_id, index, "queued" if queued else "running", now_ms)
        self.log.place()
        accepted = Accepted(index, self.log.last_seq, row.status)
        changes: list[Change] = [StartTurn(row)]
        if first is not None:
            changes.insert(0, first)
        if note is not None:
            changes.append(note(index))
        turn.index = index
        try:
            if queued:
                await self.log.commit(*changes, drafts=[state.turn_queued(turn.prompt)], turn_index=index)
            else:
                await self._started(turn, *changes)
        except StorageError:
            await asyncio.to_thread(laying.take_back, turn.prompt.files)  # of a turn that never was
            raise
        self.row = dataclasses.replace(self.row, turn_count=index, last_turn_at=now_ms // 1000)
        if not ask.accepted.done():
            ask.accepted.set_result(accepted)
        return row

    def _begin(self, turn: Turn) -> None:
        self.turn = turn
        turn.begin()

    async def _begun(self, turn: Turn, row: TurnRow) -> TurnRow:
        """Has a queued turn run."""
        self._begin(turn)
        now_ms = epoch_ms()
        await self._started(turn, BeginTurn(row.session_id, row.turn_index, now_ms))
        self.row = dataclasses.replace(self.row, last_turn_at=now_ms // 1000)
        return dataclasses.replace(row, status="running", started_at_ms=now_ms)

    async def _started(self, turn: Turn, *changes: Change) -> None:
        """Stores that a turn begins, while its workspace is looked at: its agent hears of it after both."""
        stored = self.log.commit(*changes, drafts=[state.turn_start(turn.prompt)], turn_index=turn.index)
        look = None if self._changes is None else self._changes.begin(turn.index)
        await stored
        if look is not None:
            await look

    async def _played(self, turn: Turn) -> TurnEnd:
        """Plays a turn that is in the store: whatever goes wrong, it gets an end, and its agent is in order."""
        try:
            if self.agent is None or not self.agent.usable:
                await self.end_agent(now=True)  # what one that ended since the last turn left goes first
            end = await turn.play(self)
            if end.agent_usable and self.agent is not None:
                await self.agent.turn_over()
        except Exception:  # noqa: BLE001 - logged, and told to the caller as this turn's end
            _log.exception("turn %d of %s failed inside the gateway", turn.index, self.row.session_id)
            end = state.broken()
        if not end.agent_usable:
            await self.end_agent(now=True)
        return end

    def stop_turns(self, end: TurnEnd) -> None:
        """Ends the running turn so, if there is one, and those that wait behind it."""
        for ask in self.asks:
            ask.turn.stop(end)

    def stop_queued(self, end: TurnEnd) -> None:
        """Ends the turns so that have not begun."""
        for ask in self.asks[1:]:
            ask.turn.stop(end)

    async def close(self, reason: str) -> None:
        """Ends the agent, whatever becomes of the rest, then closes the session in the store. A turn must not run.

        Raises:
            StorageError: it could not be stored, and the session is still open.
        """
        await self.end_agent(now=False)
        if self.row.closed_at is None:
            closed, change = self._closing(reason)
            try:
                await self.log.commit(change, drafts=[Draft(events.SESSION_CLOSED, {"reason": reason})])
            except StorageError as error:
                raise self.log.failure or error from None
            self.row = closed

    async def _finish(
        self, turn: Turn, row: TurnRow, end: TurnEnd, *, closing: bool
    ) -> tuple[TurnRow, list[dict[str, Any]]]:
        """Stores the end in one unit with all that belongs to it."""
        self.log.place()
        folded = turn.fold.result()
        text = turn.fold.text()
        duration_ms = 0 if turn.started_at is None else round((time.monotonic() - turn.started_at) * 1000)
        used = usage.of_turn(turn.told, turn.prompt.text, folded)
        row = state.ended(
            row,
            end,
            empty=answers.nothing_done(folded),
            duration_ms=duration_ms,
            used=used,
            model=self.options.model or (turn.told.model if turn.told is not None else None),
            extra=await _extra(end, turn.prompt.schema, folded),
        )
        drafts = state.last_events(row, end)
        audit = self._audit.turn(self.row, row, used, turn.prompt.text, text, files=len(turn.prompt.files))
        changes: list[Change] = [EndTurn(row), audit]
        outside: list[Draft] = []
        if closing:
            closed, change = self._closing("run")
            changes.append(change)
            outside.append(Draft(events.SESSION_CLOSED, {"reason": "run"}))
        await self.log.commit(*changes, drafts=drafts, turn_index=turn.index, outside=outside)
        if closing:
            self.row = closed
        return row, folded

    def _closing(self, reason: str) -> tuple[SessionRow, CloseSession]:
        self._log_over = True
        now = epoch_ms() // 1000
        row = dataclasses.replace(self.row, closed_at=now, close_reason=reason)
        return row, CloseSession(self.row.session_id, now, reason)

    # --- what the agent tells (AgentOwner) -----------------------------------------------------------------

    def on_update(self, draft: Draft) -> None:
        """Something happened: it is an event, and part of the turn's answer while one runs."""
        self._note(draft)

    def on_activity(self) -> None:
        """The agent lives."""
        if self.turn is not None:
            self.turn.on_sign()

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
        if self.turn is not None:
            self.turn.on_prompt_end(end)

    def on_exit(self, failure: Failed) -> None:
        """The agent is gone by itself: a running turn ends by it, what it left behind is cleared away."""
        if self.turn is not None and self.turn.listening:
            self.turn.on_prompt_end(failure)
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
        return self.turn if self.turn is not None and self.turn.listening else None

    def _on_placed(self, event: Event) -> None:
        if self.turn is not None and event.turn_index == self.turn.index:
            self.turn.fold.add(event)

    def _on_pressure(self, pressed: bool) -> None:
        if self.agent is not None:
            self.agent.pause() if pressed else self.agent.resume()

    def _on_log_failure(self, error: BaseException) -> None:
        """Events are lost: the turn cannot be told truthfully any more, so it does not go on."""
        _log.error("the events of %s could not be stored: %s", self.row.session_id, error)
        self.usable = False
        self.stop_turns(state.interrupted())
        if self.turn is None:
            self._drop_agent(now=True)


async def _extra(
    end: TurnEnd, schema: dict[str, Any] | None, folded: list[dict[str, Any]]
) -> dict[str, Any] | None:
    """What the answer has besides the events: what an error tells, or what a schema says of the result."""
    if end.error is not None:
        return dict(end.told) or None
    if schema is None:
        return None
    verdict = await verdicts.reach(results.parse(results.final_text(folded)), schema)
    return {"schema_valid": verdict.valid, "schema_errors": verdict.errors}
