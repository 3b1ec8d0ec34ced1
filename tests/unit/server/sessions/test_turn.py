"""What a turn leaves behind."""

from __future__ import annotations

import gc
import weakref
from dataclasses import dataclass

from clawdforge.server.agents.base import Answered, Prompt
from clawdforge.server.agents.usage import Told
from clawdforge.server.sessions.turn import Deadlines, Turn


@dataclass
class PromptAgent:
    """An agent that answers in the loop's next round."""

    turn: Turn
    usable: bool = True

    def prompt(self, prompt: Prompt) -> None:
        self.turn._loop.call_soon(self.turn.on_prompt_end, Answered("end_turn"))

    def take_usage(self) -> Told:
        return Told()


@dataclass
class OneTurn:
    """A session with an agent that is awake."""

    agent: PromptAgent

    async def wake(self, startup_timeout_s: float) -> PromptAgent:
        raise AssertionError("it is awake")


async def test_a_turn_that_is_over_goes_with_its_prompt_and_waits_for_no_collector() -> None:
    turn = Turn(Prompt("megabytes"), Deadlines(startup_s=60, idle_s=60, total_s=60, cancel_s=10))
    turn.begin()
    session = OneTurn(PromptAgent(turn))
    gc.collect()
    gc.disable()
    try:
        end = await turn.play(session)
        turn.close()
        left = weakref.ref(turn)
        del turn, session
        assert end.stop_reason == "end_turn"
        assert left() is None
    finally:
        gc.enable()
