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
    OpenAgent,
    Prompt,
    PromptEnd,
)
from clawdforge.server.apps.audit import Audit
from clawdforge.server.events.log import SessionLog, epoch_ms
from clawdforge.server.events.rounds import Rounds
from clawdforge.server.sessions import answers, laying, results, state, usage, verdicts
from clawdforge.server.sessions.asking import Asking
from clawdforge.server.sessions.state import TurnEnd
from clawdforge.server.sessions.turn import Deadlines, Turn
from clawdforge.server.store.base import (
    AddSession,
    Change,
    CloseSession,
    EndTurn,
    SessionRow,
    StartTurn,
    StorageError,
    Store,
    TurnRow,
)
from clawdforge.wire import codec, events
from clawdforge.wire.agents import AgentOptions, PermissionPolicy
from clawdforge.wire.events import Draft, Event
from clawdforge.wire.permissions import PermissionAsk
from clawdforge.wire.turns import TurnResult

_log: Final = logging.getLogger(__name__)


class LiveSession:
    """A session that has work to do (`agents.base.AgentOwner`).

    Attributes:
        row: the session as it is stored.
        agent: its agent, while one is awake.
        turn: the turn that runs, from its acceptance until its end is stored.
        usable: False once its log has failed: the session must be read anew from the store.
        task: the turn's task, from where a turn is let through until its answer is there.
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
    ) -> None:
        self.row = row
        self.agent: Agent | None = None
        self.turn: Turn | None = None
        self.usable = True
        self.task: asyncio.Task[TurnResult] | None = None
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
        self._host = host
        self._audit = audit
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
        request = OpenAgent(self.row.session_id, self.options, self.workspace, startup_timeout_s)
        agent = await self._host.open(request, self)
        self.agent = agent
        self._note(Draft(events.AGENT_START, {"how": "new", "sandbox": self._host.sandbox.level}))
        return agent

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
        return self.turn is not None or (self.task is not None and not self.task.done())

    @property
    def idle(self) -> bool:
        """Whether it has neither an agent nor a turn, nor an event to be stored: then nothing needs it."""
        closing = self.closing is not None and not self.closing.done()
        return self.agent is None and not self.busy and not closing and not self._ending and self.log.settled

    # --- turns ---------------------------------------------------------------------------------------------

    async def run_turn(
        self,
        prompt: str,
        *,
        deadlines: Deadlines,
        files: Coroutine[Any, Any, Sequence[Attachment]] | None = None,
        schema: dict[str, Any] | None = None,
        first: AddSession | None = None,
    ) -> TurnResult:
        """Runs one turn, from its acceptance to where its end is stored.

        Args:
            prompt: what the caller says.
            deadlines: the turn's.
            files: lays its files into the workspace, within its deadline.
            schema: what the result shall fit.
            first: the session's own row, where this turn is what makes it: a run. It is closed by the turn's end.

        Raises:
            Problem: the turn ended in an error, which is in the log too; or its files could not be laid, and it
                never was.
            StorageError: the turn's start or end could not be stored.
        """
        assert self.turn is None, "the registry lets one turn through"
        turn = self.turn = Turn(self.row.turn_count + 1, Prompt(prompt, (), schema), deadlines)
        started_at_ms = epoch_ms()
        row = TurnRow(self.row.session_id, turn.index, "running", started_at_ms)
        try:
            if files is not None:
                await turn.gather(files)
            # Durable before the agent hears of it: a prompt that was run is never forgotten.
            names = [each.path.name for each in turn.prompt.files]
            start = Draft(events.TURN_START, {"prompt": prompt, "files": names})
            creation: tuple[Change, ...] = () if first is None else (first,)
            try:
                await self.log.commit(*creation, StartTurn(row), drafts=[start], turn_index=turn.index)
            except StorageError:
                await asyncio.to_thread(laying.take_back, turn.prompt.files)  # of a turn that never was
                raise
            self.row = dataclasses.replace(self.row, turn_count=turn.index, last_turn_at=started_at_ms // 1000)
            end = await self._played(turn)
            return await self._finish(turn, row, end, closing=first is not None)
        except StorageError as error:
            raise self.log.failure or error from None
        finally:
            turn.close()
            self.turn = None
            if not self.usable:
                self._drop_agent(now=True)
            self._on_idle(self)

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

    def stop_turn(self, end: TurnEnd) -> None:
        """Ends the running turn so, if there is one."""
        if self.turn is not None:
            self.turn.stop(end)

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

    async def _finish(self, turn: Turn, row: TurnRow, end: TurnEnd, *, closing: bool) -> TurnResult:
        """Stores the end in one unit with all that belongs to it, then says what came of the turn."""
        self.log.place()
        folded = turn.fold.result()
        text = turn.fold.text()
        empty = not text and turn.fold.tool_calls == 0
        ok = end.ok(empty=empty)
        duration_ms = round((time.monotonic() - turn.started_at) * 1000)
        used = usage.of_turn(turn.told, turn.prompt.text, folded)
        row = dataclasses.replace(
            row,
            status=end.kind.status,
            stop_reason=end.stop_reason,
            ok=ok,
            duration_ms=duration_ms,
            error=end.kind.error,
            detail=end.detail or None,
            usage=codec.to_json(used),
            model=self.options.model or (turn.told.model if turn.told is not None else None),
        )
        drafts = [state.turn_end(row)]
        if end.kind.error is not None:
            drafts.insert(0, state.error(end))
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
        if end.kind.error is not None:
            raise answers.turn_problem(row, end, of_run=closing)
        empty = empty and end.stop_reason == "end_turn"
        if turn.prompt.schema is None:
            return answers.turn_result(row, folded, empty=empty)
        result = results.parse(results.final_text(folded))
        verdict = await verdicts.reach(result, turn.prompt.schema)
        return answers.turn_result(row, folded, empty=empty, result=result, verdict=verdict)

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
            self.asking.take(ask, self.agent, self._turn_index)

    def on_permission_dropped(self, permission_id: str) -> None:
        """The agent waits for an answer no more."""
        self.asking.dropped(permission_id)

    def on_prompt_end(self, end: PromptEnd) -> None:
        """The agent is done with the prompt."""
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
        self.log.append(draft, self._turn_index)

    @property
    def _turn_index(self) -> int | None:
        """The turn that what the agent tells now belongs to."""
        return self.turn.index if self.turn is not None and self.turn.listening else None

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
        self.stop_turn(state.interrupted())
        if self.turn is None:
            self._drop_agent(now=True)
