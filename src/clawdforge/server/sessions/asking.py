"""What a live session's agent asks: a policy answers at once; under `ask` an app does, or else time.

The first answer wins, and each is an event of the turn that it was asked in. What became of a request is kept
nowhere but in the log. Must not know who an app is, nor how an agent hears its answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from clawdforge.server.agents.base import Agent
from clawdforge.server.events.log import SessionLog, epoch_ms
from clawdforge.server.sessions import permissions
from clawdforge.server.sessions.turn import Turn
from clawdforge.server.store.writes import Change
from clawdforge.wire import events
from clawdforge.wire.agents import PermissionPolicy
from clawdforge.wire.events import Draft
from clawdforge.wire.permissions import (
    Decision,
    Outcome,
    PermissionAnswered,
    PermissionAsk,
    PermissionItem,
    PermissionReply,
)
from clawdforge.wire.problems import invalid

WAITING_LIMIT: Final = 32
HELD_LIMIT_BYTES: Final = 32 * 1024 * 1024

Note = Callable[[PermissionAnswered], Change]


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A request that waits. `stored` is done when its event is in the store: before that nobody sees it."""

    ask: PermissionAsk
    agent: Agent
    turn: Turn
    expires_at_ms: int
    timer: asyncio.TimerHandle
    stored: asyncio.Future[None]


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a request came to. `place` is that of the chosen option; None: none of them."""

    place: int | None
    decision: Outcome
    by: str
    reason: str | None = None

    def data(self, ask: PermissionAsk) -> dict[str, Any]:
        """The fields of its `permission_answer` event."""
        option_id = None if self.place is None else ask.options[self.place].option_id
        told = {
            "permission_id": ask.permission_id,
            "decision": self.decision,
            "option_id": option_id,
            "by": self.by,
        }
        return told if self.reason is None else {**told, "reason": self.reason}


class Asking:
    """The permission requests of one live session.

    Args:
        policy: the session's.
        workspace: the session's directory.
        private: the gateway's own directory (see `permissions.decide`).
        log: the session's.
        timeout_s: how long a request waits for an app's answer, then it is rejected; a turn may have its own.
    """

    def __init__(
        self,
        policy: PermissionPolicy,
        workspace: Path,
        private: Path,
        log: SessionLog,
        timeout_s: float,
    ) -> None:
        self._policy = policy
        self._workspace = workspace
        self._private = private
        self._log = log
        self._timeout_s = timeout_s
        self._waiting: dict[str, _Waiting] = {}

    def take(self, ask: PermissionAsk, agent: Agent, turn: Turn | None) -> None:
        """The agent asks, in a turn or outside of one."""
        ask = permissions.bounded(ask)
        by = f"policy:{self._policy}"
        if self._policy != "ask":
            decision = permissions.decide(self._policy, ask, self._workspace, self._private, agent.here)
            self._at_once(ask, agent, turn, _decided(ask, decision, by))
        elif turn is None:  # nobody follows it, and no turn's end would end it
            self._at_once(ask, agent, None, _decided(ask, "reject", by, "no turn is running"))
        elif self._too_much(ask):
            reason = f"as much as may waits for an answer already: {len(self._waiting)} requests"
            self._at_once(ask, agent, turn, _decided(ask, "reject", by, reason))
        else:
            self._wait(ask, agent, turn)

    def waiting(self) -> list[PermissionItem]:
        """The requests that wait for an answer, oldest first."""
        return [_item(each) for each in self._waiting.values() if each.stored.done()]

    async def answer(
        self, permission_id: str, reply: PermissionReply, by: str, note: Note | None = None
    ) -> PermissionAnswered | None:
        """Answers a request; returns once that is stored, or None where none of this id waits (any more).

        Args:
            permission_id: which one.
            reply: what is answered.
            by: who answers.
            note: what else is stored with the answer.

        Raises:
            Problem: `invalid`: the agent offers no such option. The request waits on.
            StorageError: the answer could not be stored.
        """
        waiting = self._waiting.get(permission_id)
        if waiting is None:
            return None
        answer = _replied(waiting.ask, reply, by)
        self._forget(waiting)
        data = answer.data(waiting.ask)
        told = PermissionAnswered(ok=True, **data)
        notes = () if note is None else (note(told),)
        draft = Draft(events.PERMISSION_ANSWER, data)
        stored = self._log.commit(*notes, drafts=[draft], turn_index=waiting.turn.index)
        waiting.agent.answer(permission_id, answer.place)
        await stored
        return told

    def dropped(self, permission_id: str) -> None:
        """The agent does not wait for this answer any more."""
        if (waiting := self._waiting.get(permission_id)) is not None:
            self._settle(waiting, _Answer(None, "cancelled", "cancel"))

    def _wait(self, ask: PermissionAsk, agent: Agent, turn: Turn) -> None:
        timeout_s = turn.permission_s or self._timeout_s
        expires_at_ms = epoch_ms() + round(timeout_s * 1000)
        stored = self._log.commit(drafts=[_request(ask, expires_at_ms)], turn_index=turn.index)
        timer = asyncio.get_running_loop().call_later(timeout_s, self._expire, ask.permission_id)
        kept = replace(ask, paths=())
        self._waiting[ask.permission_id] = _Waiting(kept, agent, turn, expires_at_ms, timer, stored)
        turn.hold()

    def _expire(self, permission_id: str) -> None:
        waiting = self._waiting[permission_id]
        self._settle(waiting, _decided(waiting.ask, "reject", "expiry"))

    def _settle(self, waiting: _Waiting, answer: _Answer) -> None:
        self._forget(waiting)
        self._tell(waiting.ask, waiting.agent, waiting.turn.index, answer)

    def _at_once(self, ask: PermissionAsk, agent: Agent, turn: Turn | None, answer: _Answer) -> None:
        turn_index = None if turn is None else turn.index
        self._log.append(_request(ask, None), turn_index)
        self._tell(ask, agent, turn_index, answer)

    def _tell(self, ask: PermissionAsk, agent: Agent, turn_index: int | None, answer: _Answer) -> None:
        self._log.append(Draft(events.PERMISSION_ANSWER, answer.data(ask)), turn_index)
        agent.answer(ask.permission_id, answer.place)

    def _forget(self, waiting: _Waiting) -> None:
        waiting.timer.cancel()
        del self._waiting[waiting.ask.permission_id]
        waiting.turn.go_on()

    def _too_much(self, ask: PermissionAsk) -> bool:
        held_bytes = sum(each.ask.held_bytes for each in self._waiting.values()) + ask.held_bytes
        return len(self._waiting) >= WAITING_LIMIT or held_bytes > HELD_LIMIT_BYTES


def _decided(ask: PermissionAsk, decision: Decision, by: str, reason: str | None = None) -> _Answer:
    """A decision of the gateway's own. Where no option says it the agent hears `cancelled`, which is a no."""
    place = permissions.chosen(ask.options, decision)
    if place is not None:
        return _Answer(place, permissions.outcome(ask.options[place]), by, reason)
    return _Answer(None, "reject" if decision == "reject" else "cancelled", by, reason)


def _replied(ask: PermissionAsk, reply: PermissionReply, by: str) -> _Answer:
    """What an app has answered. Raises Problem `invalid`."""
    if (reply.decision is None) is (reply.option_id is None):
        raise invalid("either a decision or an option_id is needed, and not both", "decision")
    if reply.decision is not None:
        place = permissions.chosen(ask.options, reply.decision)
    else:
        places = (place for place, each in enumerate(ask.options) if each.option_id == reply.option_id)
        place = next(places, None)
    if place is None:
        offered = ", ".join(f"{each.option_id!r} ({each.kind})" for each in ask.options) or "none"
        detail = f"the agent offers no such option; it offers: {offered}"
        raise invalid(detail, "option_id" if reply.decision is None else "decision")
    return _Answer(place, permissions.outcome(ask.options[place]), by)


def _request(ask: PermissionAsk, expires_at_ms: int | None) -> Draft:
    return Draft(events.PERMISSION_REQUEST, {**ask.as_data(), "expires_at": expires_at_ms})


def _item(waiting: _Waiting) -> PermissionItem:
    ask = waiting.ask
    return PermissionItem(
        ask.permission_id, ask.tool_call_id, ask.title, ask.kind, [*ask.options], waiting.expires_at_ms
    )
