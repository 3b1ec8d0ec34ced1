"""One turn, from the prompt to its end: the first cause to end it wins, and its deadlines are kept here.

Must not store anything and must not know how an answer is written: its session does that.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from clawdforge.server.agents.base import Agent, AgentFailed, Attachment, Prompt, PromptEnd
from clawdforge.server.agents.usage import Told
from clawdforge.server.sessions import state
from clawdforge.server.sessions.state import TurnEnd
from clawdforge.wire.fold import Fold
from clawdforge.wire.problems import Problem

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Deadlines:
    """A turn's deadlines, in seconds. `total_s` counts from its start, `idle_s` from the last sign of life.

    `permission_s` is for each request that waits for an app; None: as its session has it.
    """

    startup_s: float
    idle_s: float
    total_s: float | None
    cancel_s: float
    permission_s: float | None = None


class TurnSession(Protocol):
    """What a turn needs of its session."""

    agent: Agent | None

    async def wake(self, startup_timeout_s: float) -> Agent:
        """Starts an agent; raises AgentFailed or Problem."""


class Turn:
    """A prompt on its way. From `begin` on its total deadline runs.

    `gather` brings its files, `play` runs it, each once; `reopen` and `ask_again` may have it go on after that.
    `close` must be called in the end.

    Attributes:
        index: the turn's number in its session; 0 until it is accepted.
        fold: its answer so far.
        listening: whether what the agent tells belongs to this turn: from where it is played until the agent says
            that the prompt is over.
        told: what the agent told of its usage, by the turn's end, for each prompt of it that one was given.
        started_at: when it has begun, monotonic seconds; None before.
        permission_s: how long each permission request waits for an app; None: as its session has it.
    """

    def __init__(self, prompt: Prompt, deadlines: Deadlines) -> None:
        self.index = 0
        self.prompt: Prompt = prompt
        self.fold: Fold = Fold()
        self.listening: bool = False
        self.told: list[Told] = []
        self.started_at: float | None = None
        self.permission_s: float | None = deadlines.permission_s
        self._deadlines = deadlines
        self._loop = asyncio.get_running_loop()
        self._last_sign = 0.0
        self._holds = 0
        self._wanted_over = False  # by somebody, after it was over
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._over: asyncio.Future[TurnEnd] = self._loop.create_future()
        # Set when the agent is done with the prompt: whether it can take another. False, too, where nobody waits.
        self._agent_done: asyncio.Future[bool] = self._loop.create_future()

    def begin(self) -> None:
        """Its time begins."""
        self.started_at = time.monotonic()
        if self._deadlines.total_s is not None:
            total_s = self._deadlines.total_s
            self._timers["total"] = self._loop.call_later(total_s, self._took_too_long, total_s)

    async def wait(self, ready: asyncio.Future[None]) -> bool:
        """Waits for what it cannot go on without. Returns False where the turn is over before."""
        either: set[asyncio.Future[Any]] = {ready, self._over}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        return not self._over.done()

    async def gather(self, files: Coroutine[Any, Any, Sequence[Attachment]]) -> None:
        """Brings the prompt's files. Where the turn is over before, that is cancelled, and there are none.

        Raises:
            Problem, OSError: there cannot be any; the turn must not be played.
        """
        gathering = await self._unless_over(files)
        if not gathering.cancelled():
            self.prompt = replace(self.prompt, files=gathering.result())

    async def play(self, session: TurnSession) -> TurnEnd:
        """Runs the turn to its end. The agent, if still there, is quiet by then or of no more use."""
        self.listening = True
        try:
            agent = None if self._over.done() else session.agent or await self._woken(session)
            if agent is None:
                return await self._over
            return await self._prompted(agent, self.prompt)
        finally:
            self.listening = False

    def reopen(self) -> bool:
        """Has it go on after its agent has answered, up to `ask_again`, which must follow.

        False where somebody has wanted its end since: then it stays over.
        """
        if self._wanted_over:
            return False
        self._over = self._loop.create_future()
        self._agent_done = self._loop.create_future()
        self.listening = True
        return True

    async def ask_again(self, agent: Agent, prompt: Prompt) -> TurnEnd:
        """Gives the agent another prompt of this turn, which runs to its end as the first one did."""
        try:
            return await self._prompted(agent, prompt)
        finally:
            self.listening = False

    def close(self) -> None:
        """Keeps no deadline any more."""
        for timer in self._timers.values():
            timer.cancel()

    def stop(self, end: TurnEnd) -> bool:
        """Ends the turn so, unless something has ended it already. `interrupted` does not wait for the agent.

        Returns whether this is what ends it.
        """
        first = not self._over.done()
        if first:
            self._over.set_result(end)
        else:
            self._wanted_over = True
        if end.stop_reason == "interrupted" and not self._agent_done.done():
            self._agent_done.set_result(False)
        return first

    @property
    def end(self) -> TurnEnd:
        """What has ended it; it must have ended."""
        return self._over.result()

    def on_sign(self) -> None:
        """The agent showed that it lives."""
        self._last_sign = self._loop.time()

    def hold(self) -> None:
        """The agent waits for somebody: it need not show that it lives until as many `go_on` have followed."""
        self._holds += 1
        self._stop_idle()

    def go_on(self) -> None:
        """The agent waits for one less."""
        self._holds -= 1
        if not self._over.done():
            self.on_sign()
            self._watch_idle()

    def on_prompt_end(self, end: PromptEnd) -> None:
        """The agent is done with the prompt, or gone."""
        self.listening = False
        self._stop_idle()
        by_agent = state.by_agent(end)
        if not self._agent_done.done():
            self._agent_done.set_result(by_agent.agent_usable)
        self.stop(by_agent)

    async def _prompted(self, agent: Agent, prompt: Prompt) -> TurnEnd:
        """Gives the agent a prompt, unless the turn is over; it is quiet by the end, or of no more use."""
        if self._over.done():
            return self._over.result()
        self.on_sign()
        self._watch_idle()
        agent.prompt(prompt)
        if self.prompt.files:
            self.prompt = self.prompt.without_contents()
        self.told.append(Told())
        end = await self._over
        if not await self._wound_down(agent):
            end = state.with_lost_agent(end)
        self.told[-1] = agent.take_usage()
        return end

    async def _woken(self, session: TurnSession) -> Agent | None:
        """An agent for this turn; None when the turn is over before there is one."""
        waking = await self._unless_over(session.wake(self._deadlines.startup_s))
        if waking.cancelled():
            return None
        match waking.exception():
            case None:
                return waking.result()
            case AgentFailed() as error:
                self.stop(state.by_agent(error.failure))
            case Problem() as problem:
                self.stop(TurnEnd("agent_failed", problem.detail, agent_usable=False, refused=problem))
            case error:
                raise error
        return None

    async def _unless_over(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Does what a turn waits for; it is done after. Where the turn is over first, it is cancelled."""
        task = asyncio.ensure_future(work)
        either: set[asyncio.Future[Any]] = {task, self._over}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            task.cancel()  # which ends what it has started
            await asyncio.wait({task})
        return task

    async def _wound_down(self, agent: Agent) -> bool:
        """Whether the agent can take another prompt. While it has this one it is asked to stop, and waited for."""
        if self._agent_done.done():
            return self._agent_done.result()
        agent.cancel()
        try:
            async with asyncio.timeout(self._deadlines.cancel_s):
                return await self._agent_done
        except TimeoutError:
            return False

    def _took_too_long(self, total_s: float) -> None:
        self.stop(state.timed_out("total", f"the turn took longer than {total_s:g} seconds"))

    def _stop_idle(self) -> None:
        if (timer := self._timers.get("idle")) is not None:
            timer.cancel()

    def _watch_idle(self) -> None:
        """Looks again when the deadline would be over; a sign of life only moves a number."""
        if self._holds:
            return
        left = self._last_sign + self._deadlines.idle_s - self._loop.time()
        if left > 0:
            # Not a function of its own here: it would hold itself, and the turn with its prompt, as garbage.
            self._timers["idle"] = self._loop.call_later(left, self._watch_idle)
        else:
            detail = f"the agent gave no sign of life for {self._deadlines.idle_s:g} seconds"
            self.stop(state.timed_out("idle", detail))
