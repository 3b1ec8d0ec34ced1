"""The prompts of one session: one is played, others wait behind it; each from its acceptance to its stored end.

Must not know what an agent says meanwhile: its session hears that.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, Protocol

from clawdforge.server.agents.base import Attachment
from clawdforge.server.apps.audit import Audit
from clawdforge.server.events.log import SessionLog, epoch_ms
from clawdforge.server.sessions import answers, laying, repairs, state, usage, verdicts
from clawdforge.server.sessions.asked import Accepted, Ask
from clawdforge.server.sessions.changes import SessionChanges
from clawdforge.server.sessions.state import TurnEnd
from clawdforge.server.sessions.turn import Turn, TurnSession
from clawdforge.server.sessions.verdicts import Verdict
from clawdforge.server.store.base import StorageError
from clawdforge.server.store.stored import SessionRow, TurnRow
from clawdforge.server.store.writes import AddSession, BeginTurn, Change, CloseSession, EndTurn, StartTurn
from clawdforge.wire import events, results
from clawdforge.wire.agents import AgentOptions
from clawdforge.wire.events import Draft

_log: Final = logging.getLogger(__name__)
Files = Callable[[], Coroutine[Any, Any, Sequence[Attachment]]]
"""Lays a turn's files into the workspace."""


class PromptSession(TurnSession, Protocol):
    """What prompts need of their session."""

    row: SessionRow
    log: SessionLog
    usable: bool
    options: AgentOptions
    closing: asyncio.Task[None] | None

    async def end_agent(self, *, now: bool) -> None:
        """Ends the agent, if there is one; also waits for one that is ending."""

    def sealed(self, reason: str) -> tuple[SessionRow, CloseSession]:
        """The session's end: its row then, and the change; nothing that its agent says follows in the log."""

    def on_turn_over(self) -> None:
        """A prompt has left."""


class Prompts:
    """The prompts of a session that were let in and have not ended.

    Attributes:
        asks: all of them, the running one first.
        turn: the turn that runs, from where it is let through until its end is stored.
    """

    def __init__(self, session: PromptSession, audit: Audit, changes: SessionChanges | None) -> None:
        self.asks: list[Ask[Any]] = []
        self.turn: Turn | None = None
        self._session = session
        self._audit = audit
        self._changes = changes
        self._look: asyncio.Future[None] | None = None  # at the workspace, before the turn that runs

    def let_in(self, ask: Ask[Any]) -> None:
        """Gives a prompt its place behind those that are here; `run` must follow."""
        if self.asks:
            ask.before = self.asks[-1]
        else:
            ask.go.set_result(None)
        self.asks.append(ask)

    def of(self, turn_index: int) -> Ask[Any] | None:
        """The prompt of a turn that was accepted and has not ended."""
        return next((each for each in self.asks if each.turn.index == turn_index), None)

    async def run(
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
            if self._session.closing is not None:
                raise answers.closed()
            row = await self._accepted(ask, files, first, note)
            if row.status == "queued" and await turn.wait(ask.go):
                row = await self._begun(turn, row)
            if row.status == "queued":
                end, verdict = turn.end, await self._judged(turn, turn.end)
            else:
                end, verdict = await self._played(turn)
            return await self._finish(turn, row, end, verdict, closing=first is not None)
        except StorageError as error:
            raise self._session.log.failure or error from None
        except BaseException:
            if turn.index:  # it is in the store, and its end is lost: the session has to be read anew for it
                self._session.usable = False
            raise
        finally:
            turn.close()
            if self.turn is turn:
                self.turn = None
                if self._changes is not None:
                    self._changes.end()
            self._leave(ask)
            self._session.on_turn_over()

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
            await turn.gather(self._laid(files))
        index = self._session.row.turn_count + 1
        now_ms = epoch_ms()
        row = TurnRow(self._session.row.session_id, index, "queued" if queued else "running", now_ms)
        self._session.log.place()
        accepted = Accepted(index, self._session.log.last_seq, row.status)
        changes: list[Change] = [StartTurn(row)]
        if first is not None:
            changes.insert(0, first)
        if note is not None:
            changes.append(note(index))
        turn.index = index
        try:
            if queued:
                await self._session.log.commit(*changes, drafts=[state.turn_queued(turn.prompt)], turn_index=index)
            else:
                await self._started(turn, *changes)
        except StorageError:
            await asyncio.to_thread(laying.take_back, turn.prompt.files)  # of a turn that never was
            raise
        self._session.row = dataclasses.replace(self._session.row, turn_count=index, last_turn_at=now_ms // 1000)
        if not ask.accepted.done():
            ask.accepted.set_result(accepted)
        return row

    async def _laid(self, files: Files) -> Sequence[Attachment]:
        if self._changes is not None:
            await self._changes.settled()  # they are no change of the turn before
        return await files()

    def _begin(self, turn: Turn) -> None:
        self.turn = turn
        turn.begin()

    async def _begun(self, turn: Turn, row: TurnRow) -> TurnRow:
        """Has a queued turn run."""
        self._begin(turn)
        now_ms = epoch_ms()
        await self._started(turn, BeginTurn(row.session_id, row.turn_index, now_ms))
        self._session.row = dataclasses.replace(self._session.row, last_turn_at=now_ms // 1000)
        return dataclasses.replace(row, status="running", started_at_ms=now_ms)

    async def _started(self, turn: Turn, *changes: Change) -> None:
        """Stores that a turn begins, while its workspace is looked at: its agent hears of it after both."""
        stored = self._session.log.commit(*changes, drafts=[state.turn_start(turn.prompt)], turn_index=turn.index)
        self._look = None if self._changes is None else self._changes.begin(turn.index)
        await stored

    async def _played(self, turn: Turn) -> tuple[TurnEnd, Verdict | None]:
        """Plays a turn that is in the store: whatever goes wrong, it gets an end, and its agent is in order."""
        verdict: Verdict | None = None
        try:
            if self._look is not None:  # which may wait for others; a turn that is over by then does not
                await turn.wait(self._look)
            if self._session.agent is None or not self._session.agent.usable:
                await self._session.end_agent(now=True)  # what one that ended since the last turn left goes first
            end, verdict = await self._answered(turn)
            if end.agent_usable and self._session.agent is not None:
                await self._session.agent.turn_over()
        except Exception:  # noqa: BLE001 - logged, and told to the caller as this turn's end
            _log.exception("turn %d of %s failed inside the gateway", turn.index, self._session.row.session_id)
            end = state.broken()
        if not end.agent_usable:
            await self._session.end_agent(now=True)
        return end, verdict

    async def _answered(self, turn: Turn) -> tuple[TurnEnd, Verdict | None]:
        """Plays a turn; a result that does not fit its schema is asked for once more."""
        end = await turn.play(self._session)
        verdict = await self._judged(turn, end)
        agent = self._session.agent
        if verdict is None or agent is None or not agent.usable:
            return end, verdict
        if not repairs.wanted(end, turn.fold.result(), verdict) or not turn.reopen():
            return end, verdict
        prompt = repairs.asked(turn.prompt.schema, verdict.errors)
        try:
            await self._session.log.commit(drafts=[repairs.told(prompt, verdict.errors)], turn_index=turn.index)
        except StorageError:  # its end cannot be stored either, and tells why
            turn.stop(state.interrupted())
        end = await turn.ask_again(agent, prompt)
        return end, await self._judged(turn, end)

    async def _judged(self, turn: Turn, end: TurnEnd) -> Verdict | None:
        """What the turn's schema says of its result so far; None where it has none, or ended in an error."""
        schema = turn.prompt.schema
        if schema is None or end.error is not None:
            return None
        self._session.log.place()
        text = results.final_text(turn.fold.result())
        return await verdicts.reach(results.parse(text, amid_words=True), schema)

    def stop(self, end: TurnEnd) -> None:
        """Ends the running turn so, if there is one, and those that wait behind it."""
        for ask in self.asks:
            ask.turn.stop(end)

    def stop_queued(self, end: TurnEnd) -> None:
        """Ends the turns so that have not begun."""
        for ask in self.asks[1:]:
            ask.turn.stop(end)

    async def _finish(
        self, turn: Turn, row: TurnRow, end: TurnEnd, verdict: Verdict | None, *, closing: bool
    ) -> tuple[TurnRow, list[dict[str, Any]]]:
        """Stores the end in one unit with all that belongs to it."""
        self._session.log.place()
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
            model=self._session.options.model or usage.model_of(turn.told),
            extra=_extra(end, verdict, folded),
        )
        drafts = state.last_events(row, end)
        audit = self._audit.turn(
            self._session.row, row, used, turn.prompt.text, text, files=len(turn.prompt.files)
        )
        changes: list[Change] = [EndTurn(row), audit]
        outside: list[Draft] = []
        if closing:
            closed, change = self._session.sealed("run")
            changes.append(change)
            outside.append(Draft(events.SESSION_CLOSED, {"reason": "run"}))
        await self._session.log.commit(*changes, drafts=drafts, turn_index=turn.index, outside=outside)
        if closing:
            self._session.row = closed
        return row, folded


def _extra(end: TurnEnd, verdict: Verdict | None, folded: list[dict[str, Any]]) -> dict[str, Any] | None:
    """What the answer has besides the events: what an error tells, or what a schema says of the result."""
    if verdict is None:
        return dict(end.told) or None
    told = {"schema_valid": verdict.valid, "schema_errors": verdict.errors}
    return {**told, "schema_repaired": True} if repairs.made(folded) else told
