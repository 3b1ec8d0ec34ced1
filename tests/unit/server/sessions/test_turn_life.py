"""A session's turns against a simple model: whatever happens, in any order, any number of times, each has one end.

The session, its turns, its log and its database are the gateway's own; the agent, the clock and the database's
failures are the test's.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from clawdforge.server.agents.base import AgentFailed, Failed
from clawdforge.server.sessions import verdicts
from clawdforge.server.sessions.state import ENDS
from clawdforge.server.sessions.verdicts import Verdict
from clawdforge.server.store.base import StorageError
from clawdforge.wire.events import Draft
from clawdforge.wire.problems import Problem
from harness.turn_model import Expected, Model
from harness.turn_stage import Stage

LINGER_S: Final = 0.05
"""Longer than an event waits for company on its way to the store."""

SAID: Final = (
    Draft("text", {"content": "word"}),
    Draft("text", {"content": ""}),
    Draft("thinking", {"content": "hm"}),
    Draft("tool_call", {"id": "t", "name": "read", "status": "completed"}),
    Draft("plan", {"entries": []}),
    Draft("other", {"acp": {}}),
)
SCHEMA: Final = {"type": "object"}
WRONG: Final = Verdict(False, ["/: it is none"])
CAUSES: Final = (
    *("cancel", "cancel", "interrupt", "exit", "exit", "fail", "break"),
    *("end_turn", "end_turn", "max_tokens", "max_turn_requests", "refusal", "cancelled"),
)
"""What may happen to a turn, also several at once. `fail`: its agent answers with an error; `break`: with one that
leaves it of no use."""


class TurnLife(RuleBasedStateMachine):
    """Whatever happens to the session happens to the model."""

    @initialize(
        before=st.sampled_from(
            ["starting", "started", "answered", "cancelled", "silent", "queue", "unfit", "repaired"]
        )
    )
    def begin(self, before: str) -> None:
        """Each story begins where something is going on already."""
        self.stage = Stage()
        self.model = Model()
        self.ask(files=False, start=before != "starting", schema=before in ("unfit", "repaired"))
        if before == "answered":
            self.happen(["end_turn"])
        elif before == "cancelled":
            self.happen(["cancel"])
        elif before == "silent":
            self.advance(6)  # longer than the idle deadline
        elif before == "queue":
            self.ask(files=False, start=True, schema=False)
            self.ask(files=False, start=True, schema=True)
        elif before in ("unfit", "repaired"):
            self.say(SAID[0])
            if before == "repaired":
                self.happen(["end_turn"])

    @precondition(lambda self: self.model.life == "open" and self.model.phase != "laying")
    @rule(
        files=st.sampled_from([False, False, False, True]),
        start=st.sampled_from([True, True, False]),
        schema=st.sampled_from([False, False, True]),
    )
    def ask(self, files: bool, start: bool, schema: bool) -> None:
        """With `start`, the agent that it may need starts at once; with `schema`, no answer of its fits one."""
        files = files and self.model.running is None
        self.stage.loop.run(self.stage.ask(files=files, schema=SCHEMA if schema else None))
        self.model.ask(files=files, schema=schema)
        self.stage.loop.settle()
        if start and self.model.phase == "starting":
            self.start("well")
            self.stage.loop.settle()

    @precondition(lambda self: self.model.phase == "laying")
    @rule(there=st.booleans())
    def lay(self, there: bool) -> None:
        assert self.stage.files is not None
        if there:
            self.stage.files.set_result([])
            self.model.laid()
        else:
            self.stage.files.set_exception(Problem("storage_full", "there is no room"))
            self.model.not_laid()
            refused = self.stage.answers.pop()
            self.stage.loop.settle()
            assert isinstance(refused.exception(), Problem)

    @precondition(lambda self: self.model.phase == "starting")
    @rule(how=st.sampled_from(["well", "well", "fails", "refuses"]))
    def start(self, how: str) -> None:
        assert self.stage.host.start is not None
        if how == "well":
            self.stage.host.start.set_result(None)
            self.model.started()
        else:
            refused = how == "refuses"
            error = Problem("invalid", "no such model") if refused else AgentFailed(Failed("exit", exit_code=1))
            self.stage.host.start.set_exception(error)
            self.model.not_started(refused=refused)

    @precondition(lambda self: self.model.phase == "starting")
    @rule(cause=st.sampled_from(["cancel", "interrupt"]))
    def start_too_late(self, cause: str) -> None:
        """The agent is there in the very moment in which the turn is ended: it may be kept, and hears nothing."""
        assert self.stage.host.start is not None
        self.stage.host.start.set_result(None)
        self.stage.loop.call(self.stage.happen, [cause])
        self.stage.loop.settle()
        self.model.at_once = True
        self.model.happened(cause)
        self.model.agent_is_awake = self.stage.live.agent is not None
        self.model.at_once = False
        self.model.go_on()

    @precondition(lambda self: self.model.phase == "winding")
    @rule(how=st.sampled_from(["exit", "break", "fail", "cancelled", "end_turn", "interrupt", "time"]))
    def wind_down(self, how: str) -> None:
        if how == "time":
            self.advance(4)
        else:
            self.happen([how])

    @precondition(lambda self: self.model.agent_is_awake)
    @rule(draft=st.sampled_from([None, *SAID]))
    def say(self, draft: Draft | None) -> None:
        """The agent tells something, or only that it lives."""
        self.stage.loop.call(self.stage.say, draft)
        self.model.showed_life()
        if draft is not None:
            self.model.said(draft)

    @precondition(lambda self: self.model.agent_is_awake or self.model.running is not None)
    @rule(causes=st.lists(st.sampled_from(CAUSES), min_size=1, max_size=3))
    def happen(self, causes: list[str]) -> None:
        happened = []
        self.model.at_once = True
        for cause in causes:
            if self._is_possible(cause):
                happened.append(cause)
                self.model.happened(cause)
        self.model.at_once = False
        self.model.go_on()
        self.stage.loop.call(self.stage.happen, happened)

    @precondition(lambda self: self.model.may_be_repaired)
    @rule(cause=st.sampled_from(["cancel", "interrupt", "exit"]))
    def happen_while_it_is_judged(self, cause: str) -> None:
        self.happen(["end_turn", cause])

    @rule(seconds=st.sampled_from([1, 2, 5, 9]))
    def advance(self, seconds: int) -> None:
        self.stage.loop.advance(seconds)
        self.model.advance(seconds)

    @precondition(lambda self: self.model.life == "open" and len(self.model.asked) > 4)
    @rule(how=st.sampled_from(["close", "stop", "lose the store"]))
    def finish(self, how: str) -> None:
        if how == "lose the store":
            if self.model.agent_is_awake:  # else nothing is written that could fail
                self.stage.store.broken = True
                self.stage.loop.call(self.stage.say, SAID[-1])
                self.model.showed_life()
                self.stage.loop.advance(LINGER_S)
                self.model.advance(LINGER_S)
                self.model.store_broke()
            return
        self.stage.loop.run(self.stage.close() if how == "close" else self.stage.stop())
        self.model.life = "ending"
        self.model.at_once = True
        self.model.happened("cancel" if how == "close" else "interrupt")
        self.model.at_once = False
        self.model.go_on()

    def _is_possible(self, cause: str) -> bool:
        if cause in ("cancel", "interrupt"):
            return True
        return self.model.agent_is_awake if cause == "exit" else self.model.has_prompt

    @invariant()
    def the_session_is_where_the_model_is(self) -> None:
        stage, model = self.stage, self.model
        stage.loop.settle()
        assert [answer.done() for answer in stage.answers] == [each.phase == "over" for each in model.asked]
        for place, (answer, expected) in enumerate(zip(stage.answers, model.asked, strict=True)):
            if answer.done():
                check_end(answer, expected, place + 1)
        assert stage.host.heard == model.heard, "a prompt reaches an agent once at most, and so does a repair"
        assert (stage.live.prompts.turn is not None) == (model.running is not None)
        awake = [actor for actor in stage.host.actors if actor.ended is None]
        assert awake == ([stage.live.agent] if model.agent_is_awake else [])
        if stage.closing is not None:
            assert stage.closing.done() == (model.running is None)

    def teardown(self) -> None:
        if hasattr(self, "stage"):
            try:
                if self.model.life != "lost":
                    self.stage.loop.advance(60)
                    self.model.advance(60)
                    if self.model.phase == "laying":
                        self.lay(there=True)
                    self.check_log()
            finally:
                self.stage.leave()

    def check_log(self) -> None:
        """What is stored tells of each turn what its caller was told; nothing of it follows on its end."""
        stage = self.stage
        rows = [answer.result()[0] for answer in stage.answers if answer.done()]
        log = stage.loop.run(stage.store.events("sess_1"))
        assert [event.seq for event in log] == list(range(1, len(log) + 1))
        for row in rows:
            assert stage.loop.run(stage.store.turn("sess_1", row.turn_index)) == row
            told = [event for event in log if event.turn_index == row.turn_index]
            types = [event.type for event in told]
            assert types.count("schema_repair") == int(self.model.asked[row.turn_index - 1].repaired)
            assert types[0] in ("turn_queued", "turn_start")
            assert [types.count(each) for each in ("turn_end", "error")] == [1, int(row.error is not None)]
            assert types[-1] == "turn_end"
            data = told[-1].data
            assert (data["stop_reason"], data["ok"]) == (row.stop_reason, row.ok)
            if row.error is not None:
                assert (types[-2], told[-2].data["code"]) == ("error", row.error)
        closes = [event.seq for event in log if event.type == "session_closed"]
        assert closes == ([len(log)] if stage.live.row.closed_at is not None else [])


async def never_fitting(*_: Any) -> Verdict:
    return WRONG


def check_end(answer: asyncio.Future[Any], expected: Expected, index: int) -> None:
    """What a prompt came to, against the model and the table of ends."""
    if expected.reason == "not stored":
        assert isinstance(answer.exception(), StorageError)
        return
    row, _ = answer.result()
    kind = ENDS[expected.reason]
    assert (row.turn_index, row.stop_reason, row.status) == (index, expected.reason, kind.status)
    assert row.ok is (kind.ok and (expected.worked or expected.reason != "end_turn"))
    assert row.error == ("invalid" if expected.refused else kind.error)
    if row.error is None:
        verdict = {"schema_valid": False, "schema_errors": WRONG.errors}
        repaired = {"schema_repaired": True} if expected.repaired else {}
        assert row.extra == ({**verdict, **repaired} if expected.schema else None)


@pytest.mark.guarantee
@pytest.mark.timeout(600)  # what is found has to be made small before it is told
def test_whatever_happens_each_turn_has_one_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdicts, "reach", never_fitting)
    run_state_machine_as_test(
        TurnLife,
        settings=settings(
            max_examples=100,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )
