"""A session's turns against a simple model: whatever happens, in any order, any number of times, each has one end.

The session, its turns, its log and its database are the gateway's own; the agent, the clock and the database's
failures are the test's.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

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

from clawdforge.server.agents.base import Agent, AgentFailed, Answered, Attachment, Failed, OpenAgent, Prompt
from clawdforge.server.agents.usage import Told
from clawdforge.server.apps.audit import Audit
from clawdforge.server.events.rounds import Rounds
from clawdforge.server.sessions import state
from clawdforge.server.sessions.asked import Ask
from clawdforge.server.sessions.session import LiveSession
from clawdforge.server.sessions.state import ENDS
from clawdforge.server.sessions.turn import Deadlines, Turn
from clawdforge.server.store.base import AddSession, Change, SessionRow, StorageError
from clawdforge.server.store.sqlite import SqliteStore
from clawdforge.wire.events import Draft
from clawdforge.wire.problems import Problem
from clawdforge.wire.sandbox import Sandbox
from harness.virtual_time import VirtualLoop

# The clock moves by whole seconds, and no two of these are over at the same time.
TOTAL_S: Final = 17.125
DEADLINES: Final = Deadlines(startup_s=7.25, idle_s=5.5, total_s=TOTAL_S, cancel_s=3.0625)
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
CAUSES: Final = (
    *("cancel", "cancel", "interrupt", "exit", "exit", "fail", "break"),
    *("end_turn", "end_turn", "max_tokens", "max_turn_requests", "refusal", "cancelled"),
)
"""What may happen to a turn, also several at once. `fail`: its agent answers with an error; `break`: with one that
leaves it of no use."""


# --- the model ---------------------------------------------------------------------------------------------


@dataclass
class Expected:
    """What a prompt should come to."""

    phase: Literal["queued", "laying", "starting", "prompted", "winding", "over"] = "queued"
    reason: str = ""
    refused: bool = False
    worked: bool = False
    files: bool = False
    deadlines: dict[str, float] = field(default_factory=dict)


class Model:
    """The whole life of a session's turns, in as few words as possible."""

    def __init__(self) -> None:
        self.now = 0.0
        self.asked: list[Expected] = []
        self.agent_is_awake = False
        self.heard: list[int] = []
        self.life: Literal["open", "ending", "lost"] = "open"
        self.at_once = False  # while several things happen before anything can follow from one of them

    @property
    def running(self) -> Expected | None:
        return next((each for each in self.asked if each.phase not in ("queued", "over")), None)

    @property
    def phase(self) -> str | None:
        return None if self.running is None else self.running.phase

    @property
    def has_prompt(self) -> bool:
        """Whether an agent has a prompt that it has not ended."""
        return self.phase in ("prompted", "winding")

    def ask(self, *, files: bool) -> None:
        self.asked.append(Expected(files=files))
        self.go_on()

    def laid(self) -> None:
        self._begin(self._current())

    def not_laid(self) -> None:
        self.asked.pop()

    def started(self) -> None:
        self.agent_is_awake = True
        self._give(self._current())

    def not_started(self, *, refused: bool) -> None:
        each = self._current()
        each.reason, each.refused = "agent_failed", refused
        self._over(each)

    def said(self, draft: Draft) -> None:
        if (each := self.running) is not None and self.has_prompt:
            each.worked |= draft.type == "tool_call" or (draft.type == "text" and bool(draft.data["content"]))

    def showed_life(self) -> None:
        if (each := self.running) is not None and each.phase == "prompted":
            each.deadlines["idle"] = self.now + DEADLINES.idle_s

    def happened(self, cause: str) -> None:
        match cause:
            case "cancel":
                self._stop_all("cancelled")
            case "interrupt":
                self._stop_all("interrupted")
            case "exit" if not self.has_prompt:
                self.agent_is_awake = False
            case "exit" | "break":
                self._prompt_ended("agent_failed", agent_is_lost=True)
            case "fail":
                self._prompt_ended("agent_failed", agent_is_lost=False)
            case stop_reason:
                self._prompt_ended(stop_reason, agent_is_lost=False)

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while (each := self.running) is not None and each.deadlines:
            what = min(each.deadlines, key=each.deadlines.__getitem__)
            if each.deadlines[what] > end:
                break
            self.now = each.deadlines.pop(what)
            if what == "cancel":
                self._over(each, agent_is_lost=True)
            else:
                self._stop(each, "timeout")
        self.now = end

    def store_broke(self) -> None:
        self.life = "lost"
        self.agent_is_awake = False
        for each in self.asked:
            if each.phase != "over":
                each.phase, each.reason = "over", "not stored"

    def go_on(self) -> None:
        """The next in the row begins; with the last of them a session that closes is closed."""
        queued = [each for each in self.asked if each.phase == "queued"]
        if self.at_once or self.running is not None:
            return
        if queued:
            queued[0].deadlines["total"] = self.now + TOTAL_S
            if queued[0].files:
                queued[0].phase = "laying"
            else:
                self._begin(queued[0])
        elif self.life != "open":
            self.agent_is_awake = False

    def _current(self) -> Expected:
        assert self.running is not None
        return self.running

    def _begin(self, each: Expected) -> None:
        if self.agent_is_awake:
            self._give(each)
        else:
            each.phase = "starting"
            each.deadlines["startup"] = self.now + DEADLINES.startup_s

    def _give(self, each: Expected) -> None:
        each.phase = "prompted"
        each.deadlines.pop("startup", None)
        each.deadlines["idle"] = self.now + DEADLINES.idle_s
        self.heard.append(self.asked.index(each))

    def _stop_all(self, reason: str) -> None:
        for each in [*self.asked]:
            self._stop(each, reason)

    def _stop(self, each: Expected, reason: str) -> None:
        """The first cause is the end. An agent that has the prompt is asked to stop, unless there is no time."""
        if each.phase == "over":
            return
        each.reason = each.reason or reason
        if each.phase == "prompted" and reason != "interrupted":
            each.phase = "winding"
            each.deadlines = {"cancel": self.now + DEADLINES.cancel_s}
        elif each.phase != "winding" or reason == "interrupted":
            self._over(each, agent_is_lost=each.phase != "queued" and reason in ("interrupted", "timeout"))

    def _prompt_ended(self, reason: str, *, agent_is_lost: bool) -> None:
        each = self._current()
        each.reason = each.reason or reason
        self._over(each, agent_is_lost=agent_is_lost or each.reason == "timeout")

    def _over(self, each: Expected, *, agent_is_lost: bool = False) -> None:
        each.phase = "over"
        if agent_is_lost:
            self.agent_is_awake = False
        self.go_on()


# --- what is real, and what stands in for the rest --------------------------------------------------------------


class BreakableStore:
    """The real store, until it is broken: then nothing can be written any more."""

    def __init__(self, store: SqliteStore, loop: VirtualLoop) -> None:
        self._store = store
        self._loop = loop
        self.broken = False

    def write(self, *changes: Change, flush: bool = True) -> asyncio.Future[None]:
        if not self.broken:
            return self._loop.watched(self._store.write(*changes, flush=True))
        failed: asyncio.Future[None] = self._loop.create_future()
        failed.set_exception(StorageError("the disk is gone"))
        return failed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class Actor:
    """An agent that does what the test says, and keeps in mind what it was told (`agents.base.Agent`)."""

    def __init__(self, heard: list[int]) -> None:
        self.usable = True
        self.recalled = False
        self.agent_session_id: str | None = None
        self.history_bytes = 100_000
        self.ended: bool | None = None
        self._heard = heard

    def here(self, path: str) -> str | None:
        return path

    def hand_over(self, conversation: str) -> None: ...

    def prompt(self, prompt: Prompt) -> None:
        assert self.usable and self.ended is None
        self._heard.append(int(prompt.text))

    def cancel(self) -> None:
        assert self.ended is None

    def answer(self, *_: Any) -> None:
        raise AssertionError("it never asks")

    def take_usage(self) -> Told:
        return Told()

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    async def turn_over(self) -> None:
        assert self.ended is None

    async def end(self, *, now: bool) -> None:
        assert self.ended is None, "it is ended twice"
        self.ended = now


class Host:
    """Starts an actor when the test says so (`agents.base.AgentHost`)."""

    def __init__(self) -> None:
        self.sandbox = Sandbox("none", "open")
        self.agent_uid: int | None = None
        self.heard: list[int] = []
        self.actors: list[Actor] = []
        self.start: asyncio.Future[None] | None = None

    def agent_cwd(self, workspace: Path) -> str:
        return str(workspace)

    def check(self, options: Any) -> None: ...

    async def open(self, request: OpenAgent, owner: Any) -> Agent:
        self.start = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(request.startup_timeout_s):
                await self.start
        except TimeoutError:
            raise AgentFailed(Failed("it was too slow", phase="startup")) from None
        finally:
            self.start = None
        self.actors.append(Actor(self.heard))
        return self.actors[-1]


class Stage:
    """A session in a database of its own, and what may happen to it."""

    def __init__(self) -> None:
        self.loop = VirtualLoop()
        self.root = Path(tempfile.mkdtemp())
        self.host = Host()
        self.tasks: list[asyncio.Task[Any]] = []
        self.files: asyncio.Future[Sequence[Attachment]] | None = None
        self.closing: asyncio.Task[None] | None = None
        self.loop.run(self._open())

    async def _open(self) -> None:
        real = await SqliteStore.open(self.root / "clawdforge.db", durability="process")
        self.store = BreakableStore(real, self.loop)
        cwd = str(self.root)
        row = SessionRow("sess_1", "app_1", "app", "session", "fake", cwd, {}, {}, created_at=1)
        await self.store.write(AddSession(row))
        self.live = LiveSession(
            row,
            store=self.store,
            host=self.host,
            audit=Audit(keep_prompts=False),
            rounds=Rounds(self.store, lambda _: False),
            last_seq=0,
            policy="deny",
            permission_timeout_s=60,
            private=self.root,
            on_idle=lambda _: None,
        )

    async def ask(self, *, files: bool) -> None:
        ask: Ask[Any] = Ask("sess_1", Turn(Prompt(str(len(self.tasks))), DEADLINES))
        self.live.prompts.let_in(ask)
        work = self.live.prompts.run(ask, files=self._laid if files else None)
        self.tasks.append(asyncio.create_task(ask.told(work)))

    async def _laid(self) -> Sequence[Attachment]:
        self.files = asyncio.get_running_loop().create_future()
        return await self.files

    async def close(self) -> None:
        """As `sessions.registry` does it for a client."""
        self.live.prompts.stop(state.cancelled())
        self.closing = self.live.closing = asyncio.create_task(self._closed(close=True))

    async def stop(self) -> None:
        """As `sessions.registry` does it when the gateway stops."""
        self.live.prompts.stop_queued(state.never_begun())
        self.live.prompts.stop(state.interrupted())
        self.closing = asyncio.create_task(self._closed(close=False))

    async def _closed(self, *, close: bool) -> None:
        if unfinished := [task for task in self.tasks if not task.done()]:
            await asyncio.wait(unfinished)
        await (self.live.close("client") if close else self.live.end_agent(now=False))

    def say(self, draft: Draft | None) -> None:
        self.live.on_activity()
        if draft is not None:
            self.live.on_update(draft)

    def happen(self, causes: Sequence[str]) -> None:
        """Lets the session hear of it, as it would in the gateway, before it can do anything about the first."""
        for cause in causes:
            self._happen(cause)

    def _happen(self, cause: str) -> None:
        match cause:
            case "cancel":
                self.live.prompts.stop(state.cancelled())
            case "interrupt":
                self.live.prompts.stop(state.interrupted())
            case "exit":
                self.host.actors[-1].usable = False
                self.live.on_exit(Failed("it is gone", exit_code=1))
            case "fail" | "break":
                self.live.on_prompt_end(Failed("its model failed", alive=cause == "fail"))
            case stop_reason:
                self.live.on_prompt_end(Answered(stop_reason))

    def leave(self) -> None:
        """Ends what is left, whatever was checked before."""
        self.loop.call(self.live.prompts.stop, state.interrupted())
        self.loop.run(self.live.end_agent(now=True))
        self.loop.settle()
        self.loop.run(self.store.close())
        self.loop.run(self.loop.shutdown_default_executor())
        self.loop.close()
        shutil.rmtree(self.root)


# --- the two side by side ---------------------------------------------------------------------------------------


class TurnLife(RuleBasedStateMachine):
    """Whatever happens to the session happens to the model."""

    @initialize(before=st.sampled_from(["starting", "started", "answered", "cancelled", "silent", "queue"]))
    def begin(self, before: str) -> None:
        """Each story begins where something is going on already."""
        self.stage = Stage()
        self.model = Model()
        self.ask(files=False, start=before != "starting")
        if before == "answered":
            self.happen(["end_turn"])
        elif before == "cancelled":
            self.happen(["cancel"])
        elif before == "silent":
            self.advance(6)  # longer than the idle deadline
        elif before == "queue":
            self.ask(files=False, start=True)
            self.ask(files=False, start=True)

    @precondition(lambda self: self.model.life == "open" and self.model.phase != "laying")
    @rule(files=st.sampled_from([False, False, False, True]), start=st.sampled_from([True, True, False]))
    def ask(self, files: bool, start: bool) -> None:
        """With `start`, the agent that it may need starts at once."""
        files = files and self.model.running is None
        self.stage.loop.run(self.stage.ask(files=files))
        self.model.ask(files=files)
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
            refused = self.stage.tasks.pop()
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
        assert [task.done() for task in stage.tasks] == [each.phase == "over" for each in model.asked]
        for place, (task, expected) in enumerate(zip(stage.tasks, model.asked, strict=True)):
            if task.done():
                check_end(task, expected, place + 1)
        assert stage.host.heard == model.heard, "a prompt reaches an agent once at most"
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
        rows = [task.result()[0] for task in stage.tasks if task.done()]
        log = stage.loop.run(stage.store.events("sess_1"))
        assert [event.seq for event in log] == list(range(1, len(log) + 1))
        for row in rows:
            assert stage.loop.run(stage.store.turn("sess_1", row.turn_index)) == row
            told = [event for event in log if event.turn_index == row.turn_index]
            types = [event.type for event in told]
            assert types[0] in ("turn_queued", "turn_start")
            assert [types.count(each) for each in ("turn_end", "error")] == [1, int(row.error is not None)]
            assert types[-1] == "turn_end"
            data = told[-1].data
            assert (data["stop_reason"], data["ok"]) == (row.stop_reason, row.ok)
            if row.error is not None:
                assert (types[-2], told[-2].data["code"]) == ("error", row.error)
        closes = [event.seq for event in log if event.type == "session_closed"]
        assert closes == ([len(log)] if stage.live.row.closed_at is not None else [])


def check_end(task: asyncio.Task[Any], expected: Expected, index: int) -> None:
    """What a prompt came to, against the model and the table of ends."""
    if expected.reason == "not stored":
        assert isinstance(task.exception(), StorageError)
        return
    row, _ = task.result()
    kind = ENDS[expected.reason]
    assert (row.turn_index, row.stop_reason, row.status) == (index, expected.reason, kind.status)
    assert row.ok is (kind.ok and (expected.worked or expected.reason != "end_turn"))
    assert row.error == ("invalid" if expected.refused else kind.error)


@pytest.mark.guarantee
@pytest.mark.timeout(600)  # what is found has to be made small before it is told
def test_whatever_happens_each_turn_has_one_end() -> None:
    run_state_machine_as_test(
        TurnLife,
        settings=settings(
            max_examples=100,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )
