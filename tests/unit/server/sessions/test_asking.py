"""Requests that wait, against a simple model: each has one answer, the first, whoever or whatever gives it.

The log, its database and the turn are the gateway's own; the agent and the clock are the test's.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, get_args

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from clawdforge.server.agents.base import Prompt
from clawdforge.server.events.log import SessionLog
from clawdforge.server.events.rounds import Rounds
from clawdforge.server.sessions import permissions
from clawdforge.server.sessions.asking import WAITING_LIMIT, Asking
from clawdforge.server.sessions.turn import Deadlines, Turn
from clawdforge.server.store.sqlite import SqliteStore
from clawdforge.server.store.stored import SessionRow
from clawdforge.server.store.writes import AddSession, Change
from clawdforge.wire.events import Event
from clawdforge.wire.permissions import (
    Decision,
    PermissionAnswered,
    PermissionAsk,
    PermissionOption,
    PermissionReply,
)
from clawdforge.wire.problems import Problem
from harness.databases import lay_new
from harness.virtual_time import VirtualLoop

TIMEOUT_S: Final = 40.0
IDLE_S: Final = 50.0
KINDS: Final = ("allow_once", "allow_always", "reject_once", "reject_always", "new")
DECISIONS: Final[tuple[Decision, ...]] = get_args(Decision)


class WatchedStore:
    """The real store; the loop knows what its thread is at."""

    def __init__(self, store: SqliteStore, loop: VirtualLoop) -> None:
        self._store = store
        self._loop = loop

    def write(self, *changes: Change, flush: bool = True) -> asyncio.Future[None]:
        return self._loop.watched(self._store.write(*changes, flush=True))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


@dataclass
class HearingAgent:
    """An agent that keeps in mind what it is answered; once it has dropped a request it hears no more of it."""

    heard: dict[str, int | None] = field(default_factory=dict)
    dropped: set[str] = field(default_factory=set)

    def here(self, path: str) -> str:
        return path

    def answer(self, permission_id: str, place: int | None) -> None:
        if permission_id not in self.dropped:
            assert permission_id not in self.heard, "answered twice"
            self.heard[permission_id] = place


@dataclass
class Asked:
    """What should be true of a request: when it expires while it waits, else what it came to, and by whom."""

    ask: PermissionAsk
    expires_at: float
    came_to: tuple[str, str] | None = None

    def rejected(self) -> str:
        """What it comes to where it is rejected."""
        place = permissions.chosen(self.ask.options, "reject")
        return "reject" if place is None else permissions.outcome(self.ask.options[place])


class Requests(RuleBasedStateMachine):
    """A turn whose agent asks an app, and all that may become of that."""

    ids = Bundle("ids")

    @initialize()
    def begin(self) -> None:
        self.loop = VirtualLoop()
        self.faults: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _, fault: self.faults.append(fault))
        self.root = Path(tempfile.mkdtemp())
        self.agent = HearingAgent()
        self.asked: dict[str, Asked] = {}
        self.idle_at: float | None = self.loop.time() + IDLE_S
        self.loop.run(self._open())
        self.loop.settle()

    async def _open(self) -> None:
        self.real = await SqliteStore.open(lay_new(self.root / "clawdforge.db"), durability="process")
        store: Any = WatchedStore(self.real, self.loop)
        row = SessionRow("sess_1", "app_1", "app", "session", "fake", str(self.root), {}, {}, created_at=1)
        await store.write(AddSession(row))
        self.log = SessionLog(
            store,
            row.session_id,
            0,
            rounds=Rounds(store, lambda _: False),
            on_placed=lambda _: None,
            on_pressure=lambda _: None,
            on_failure=lambda _: None,
            on_settled=lambda: None,
        )
        deadlines = Deadlines(startup_s=1, idle_s=IDLE_S, total_s=None, cancel_s=1, permission_s=TIMEOUT_S)
        self.turn = Turn(Prompt("go"), deadlines)
        self.turn.index = 1
        self.turn.on_sign()
        self.turn._watch_idle()
        self.asking = Asking("ask", self.root, self.root, self.log, timeout_s=1)

    # --- what may happen ----------------------------------------------------------------------------------

    @precondition(lambda self: not self.turn_is_over)
    @rule(target=ids, kinds=st.lists(st.sampled_from(KINDS), max_size=5), count=st.sampled_from([1, 1, 1, 20]))
    def ask(self, kinds: list[str], count: int) -> Any:
        """The agent asks, mostly once."""
        options = tuple(PermissionOption(f"o{place}", kind, kind) for place, kind in enumerate(kinds))
        asks = [
            PermissionAsk(f"perm_{len(self.asked) + number}", "call", "title", "edit", (), options)
            for number in range(count)
        ]
        for ask in asks:
            asked = self.asked[ask.permission_id] = Asked(ask, self.loop.time() + TIMEOUT_S)
            if len(self.waiting) > WAITING_LIMIT:
                asked.came_to = (asked.rejected(), "policy:ask")
            self.loop.call_soon(self.asking.take, ask, self.agent, self.turn)
        self.idle_at = None
        self.loop.settle()
        return multiple(*(ask.permission_id for ask in asks))

    @rule(permission_id=ids, decisions=st.lists(st.sampled_from(DECISIONS), min_size=1, max_size=3))
    def answer(self, permission_id: str, decisions: list[Decision]) -> None:
        """One client answers, or several at the same instant."""
        asked = self.asked[permission_id]
        for decision, told in zip(decisions, self._answers(permission_id, decisions), strict=True):
            place = permissions.chosen(asked.ask.options, decision)
            if asked.came_to is not None:
                assert told is None
            elif place is None:
                assert isinstance(told, Problem)
                assert told.code == "invalid"
            else:
                assert isinstance(told, PermissionAnswered)
                assert told.option_id == asked.ask.options[place].option_id
                self._comes_to(asked, told.decision, f"app:{decision}")

    def _answers(self, permission_id: str, decisions: list[Decision]) -> list[Any]:
        async def all_at_once() -> list[Any]:
            calls = [
                self.asking.answer(permission_id, PermissionReply(decision), f"app:{decision}")
                for decision in decisions
            ]
            return await asyncio.gather(*calls, return_exceptions=True)

        return self.loop.run(all_at_once())

    @rule(permission_id=ids)
    def drop(self, permission_id: str) -> None:
        """The agent does not wait for it any more."""
        self.agent.dropped.add(permission_id)
        self.loop.call_soon(self.asking.dropped, permission_id)
        self.loop.settle()
        asked = self.asked[permission_id]
        if asked.came_to is None:
            self._comes_to(asked, "cancelled", "cancel")

    @rule(seconds=st.integers(1, 30))
    def wait(self, seconds: int) -> None:
        """Time goes by."""
        until = self.loop.time() + seconds
        for asked in [each for each in self.waiting if each.expires_at <= until]:
            self._comes_to(asked, asked.rejected(), "expiry", asked.expires_at)
        self.loop.advance(seconds)

    def _comes_to(self, asked: Asked, decision: str, by: str, at: float | None = None) -> None:
        asked.came_to = (decision, by)
        if not self.waiting:
            self.idle_at = (self.loop.time() if at is None else at) + IDLE_S

    # --- what must hold -----------------------------------------------------------------------------------

    @property
    def waiting(self) -> list[Asked]:
        return [each for each in self.asked.values() if each.came_to is None]

    @property
    def turn_is_over(self) -> bool:
        return self.idle_at is not None and self.idle_at <= self.loop.time()

    @invariant()
    def what_waits_is_listed(self) -> None:
        listed = [each.permission_id for each in self.asking.waiting()]
        assert listed == [each.ask.permission_id for each in self.waiting]

    @invariant()
    def an_agent_may_be_silent_only_while_it_waits(self) -> None:
        assert self.turn._over.done() is self.turn_is_over

    @invariant()
    def the_agent_hears_what_was_decided(self) -> None:
        for permission_id, asked in self.asked.items():
            if asked.came_to is None:
                assert permission_id not in self.agent.heard
            elif permission_id not in self.agent.dropped:
                place = self.agent.heard[permission_id]
                outcome = None if place is None else permissions.outcome(asked.ask.options[place])
                assert asked.came_to[0] == (outcome or "reject")

    @invariant()
    def nothing_fails_unheard(self) -> None:
        assert self.faults == []

    def teardown(self) -> None:
        try:
            told = [each.data for each in self.loop.run(self._stored()) if each.type == "permission_answer"]
            assert {each["permission_id"]: (each["decision"], each["by"]) for each in told} == {
                name: each.came_to for name, each in self.asked.items() if each.came_to is not None
            }
            assert len(told) == len(self.asked) - len(self.waiting)
        finally:
            self.turn.close()
            self.loop.run(self.real.close())
            self.loop.close()
            shutil.rmtree(self.root)

    async def _stored(self) -> list[Event]:
        await self.log.commit()
        return await self.real.events("sess_1")


@pytest.mark.guarantee
@pytest.mark.timeout(600)  # what is found has to be made small before it is told
def test_whatever_happens_each_request_has_one_answer() -> None:
    run_state_machine_as_test(
        Requests,
        settings=settings(
            max_examples=30,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )
