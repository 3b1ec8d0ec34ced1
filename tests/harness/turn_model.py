"""What a session's turns should come to, whatever happens to them: a model without tasks, timers or a store."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from clawdforge.server.sessions.turn import Deadlines
from clawdforge.wire.events import Draft

# The clock moves by whole seconds, and no two of these are over at the same time.
TOTAL_S: Final = 17.125
DEADLINES: Final = Deadlines(startup_s=7.25, idle_s=5.5, total_s=TOTAL_S, cancel_s=3.0625)

AGAIN: Final = -1
"""What an agent hears where its result is asked for again; else the number of a prompt."""


@dataclass
class Expected:
    """What a prompt should come to."""

    phase: Literal["queued", "laying", "starting", "prompted", "winding", "judging", "over"] = "queued"
    reason: str = ""
    refused: bool = False
    worked: bool = False
    schema: bool = False  # one that no answer fits
    repaired: bool = False
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

    @property
    def may_be_repaired(self) -> bool:
        """Whether the running turn, if it ended well now, would be asked for its result again."""
        each = self.running
        return each is not None and each.phase == "prompted" and each.schema and each.worked and not each.repaired

    def ask(self, *, files: bool, schema: bool) -> None:
        self.asked.append(Expected(files=files, schema=schema))
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
        if not self.at_once and self.phase == "judging":
            self._judge(self._current())
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

    def _judge(self, each: Expected) -> None:
        """A result that does not fit is asked for again, where the agent is still there."""
        if not self.agent_is_awake:
            self._over(each)
            return
        each.phase, each.reason, each.repaired = "prompted", "", True
        each.deadlines["idle"] = self.now + DEADLINES.idle_s
        self.heard.append(AGAIN)

    def _stop_all(self, reason: str) -> None:
        for each in [*self.asked]:
            self._stop(each, reason)

    def _stop(self, each: Expected, reason: str) -> None:
        """The first cause is the end. An agent that has the prompt is asked to stop, unless there is no time."""
        if each.phase == "over":
            return
        if each.phase == "judging":  # it has ended by itself, and stays so
            self._over(each)
            return
        each.reason = each.reason or reason
        if each.phase == "prompted" and reason != "interrupted":
            each.phase = "winding"
            each.deadlines = {"cancel": self.now + DEADLINES.cancel_s}
        elif each.phase != "winding" or reason == "interrupted":
            self._over(each, agent_is_lost=each.phase != "queued" and reason in ("interrupted", "timeout"))

    def _prompt_ended(self, reason: str, *, agent_is_lost: bool) -> None:
        each = self._current()
        if reason == "end_turn" and self.may_be_repaired:
            each.phase, each.reason = "judging", reason
            each.deadlines.pop("idle")
            return
        each.reason = each.reason or reason
        self._over(each, agent_is_lost=agent_is_lost or each.reason == "timeout")

    def _over(self, each: Expected, *, agent_is_lost: bool = False) -> None:
        each.phase = "over"
        if agent_is_lost:
            self.agent_is_awake = False
        self.go_on()
