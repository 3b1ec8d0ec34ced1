"""A session or run of the fake: its log, its turns, its workspace. Must not play anything, nor know HTTP.

All of it belongs to the gateway's one lock; `changed` is how those who wait hear of it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

from clawdforge.testing.fake_gateway.prompt import Prompt
from clawdforge.testing.fake_gateway.script import Answerer, End
from clawdforge.wire import events
from clawdforge.wire.agents import AgentOptions
from clawdforge.wire.events import Draft, Event
from clawdforge.wire.fold import Fold
from clawdforge.wire.permissions import PermissionAnswered, PermissionItem
from clawdforge.wire.sandbox import Sandbox
from clawdforge.wire.turns import TurnStatus

SANDBOX: Final = Sandbox("none", "open")
AGENT_CWD: Final = "/workspace"


def options_of(wanted: AgentOptions) -> AgentOptions:
    """What a body of more fields chooses of the agent."""
    return AgentOptions(**{each.name: getattr(wanted, each.name) for each in fields(AgentOptions)})


@dataclass(slots=True)
class Asked:
    """A permission request: what it is, of which turn, and what it came to, None while it waits."""

    item: PermissionItem
    turn_index: int
    answer: PermissionAnswered | None = None

    @property
    def waits(self) -> bool:
        """Whether nobody has answered it."""
        return self.answer is None


@dataclass(slots=True)
class Turn:
    """One turn, from when it is let in.

    Attributes:
        total_s, idle_s, permission_s: its deadlines; `total_s` None: it has none.
        begun_s: by the clock that nobody sets, when it began.
        stopped: how it shall end, where something else than its script says so.
        end: how it has ended.
        before: the workspace when it began; `after`: when it ended.
    """

    prompt: Prompt
    answerer: Answerer
    total_s: float | None
    idle_s: float
    permission_s: float
    started_at: int
    first_seq: int
    status: TurnStatus = "queued"
    begun_s: float = 0.0
    stopped: End | None = None
    end: End | None = None
    ok: bool | None = None
    duration_ms: int | None = None
    usage: dict[str, Any] | None = None
    model: str | None = None
    schema_errors: tuple[str, ...] | None = None
    before: dict[str, bytes] | None = None
    after: dict[str, bytes] | None = None

    @property
    def index(self) -> int:
        """Its number in its session, from 1."""
        return self.prompt.turn_index

    @property
    def ended(self) -> bool:
        """Whether it is over."""
        return self.end is not None


@dataclass(slots=True, eq=False)
class Session:
    """A session, or the one that a run has."""

    session_id: str
    app_name: str
    is_run: bool
    options: AgentOptions
    meta: dict[str, Any]
    lock: threading.RLock
    created_at: int = field(default_factory=lambda: int(time.time()))
    awake: bool = False
    closed_at: int | None = None
    close_reason: str | None = None
    forked_from: tuple[str, int] | None = None
    events: list[Event] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    asked: dict[str, Asked] = field(default_factory=dict)
    workspace: dict[str, bytes] = field(default_factory=dict)
    changed: threading.Condition = field(init=False)

    def __post_init__(self) -> None:
        self.changed = threading.Condition(self.lock)

    @property
    def cwd(self) -> str:
        """Where the workspace would lie; there is no such directory."""
        return f"/fake/workspaces/{self.session_id}"

    def append(self, draft: Draft, turn_index: int | None = None) -> Event:
        """Puts an event into the log, and tells those who wait.

        Raises:
            ValueError, TypeError: its data is no JSON.
        """
        event = Event(len(self.events) + 1, draft.type, turn_index, time.time_ns() // 1_000_000, draft.data)
        event.encoded()
        self.events.append(event)
        self.changed.notify_all()
        return event

    def wake(self, turn_index: int | None = None) -> None:
        """Its agent is there, and there is an event of its start where it was not."""
        if not self.awake:
            how = "replayed" if self.turns[:-1] else "new"
            self.append(Draft(events.AGENT_START, {"how": how, "sandbox": SANDBOX.level}), turn_index)
        self.awake = True

    def of_turn(self, turn: Turn) -> Iterator[Event]:
        """The events of a turn, so far."""
        return (each for each in self.events[turn.first_seq - 1 :] if each.turn_index == turn.index)

    def folded(self, turn: Turn) -> Fold:
        """The same, folded as an answer has them."""
        fold = Fold()
        for event in self.of_turn(turn):
            fold.add(event)
        return fold

    def last_turn_at(self) -> int | None:
        """When the last turn began, in epoch seconds."""
        return self.turns[-1].started_at if self.turns else None

    def wait(self, condition: Callable[[], bool], timeout_s: float | None = None) -> bool:
        """Lets go of the lock until something holds, or the time is over. Returns whether it holds."""
        return self.changed.wait_for(condition, timeout_s)

    def stop(self, end: End, turn: Turn | None = None) -> None:
        """Has one turn, or each that has not ended, end so."""
        for each in self.turns:
            if not each.ended and each.stopped is None and turn in (None, each):
                each.stopped = end
        self.changed.notify_all()

    def close(self, reason: str) -> None:
        """Closes it; its turns have ended."""
        if self.closed_at is None:
            self.closed_at, self.close_reason = int(time.time()), reason
            self.append(Draft(events.SESSION_CLOSED, {"reason": reason}))

    def chosen(self) -> Mapping[str, Any]:
        """The options that were chosen, by name, but for those that a prompt tells by itself."""
        names = (each.name for each in fields(AgentOptions) if each.name not in ("agent", "schema"))
        return {name: value for name in names if (value := getattr(self.options, name)) is not None}
