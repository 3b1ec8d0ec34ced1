"""What was there in the end: the log and the rows of each session, and what its agents have heard. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from chaos.history import mark_of

Event = dict[str, Any]
NEVER_BEGUN = frozenset({"turn_queued", "turn_end", "error"})
"""What a turn that only waited has in the log."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn as the log tells it: `row` is what the store has of it besides, None where it has nothing.

    Attributes:
        begins: its `turn_queued` and `turn_start`, as many as there are.
        ends: its `turn_end`, as many as there are.
    """

    index: int
    row: dict[str, Any] | None = None
    events: list[Event] = field(default_factory=list)

    @property
    def begins(self) -> list[Event]:
        return [event for event in self.events if event["type"] in ("turn_queued", "turn_start")]

    @property
    def ends(self) -> list[Event]:
        return [event for event in self.events if event["type"] == "turn_end"]

    @property
    def began(self) -> bool:
        """Whether its agent may have heard of it: a turn that only waited has not begun."""
        return any(event["type"] == "turn_start" for event in self.events)

    @property
    def mark(self) -> str | None:
        """Whose ask it is."""
        marks = {mark_of(event.get("prompt", "")) for event in self.begins}
        return marks.pop() if len(marks) == 1 else None


@dataclass(frozen=True, slots=True)
class Stored:
    """A session or run.

    Attributes:
        events: its log, in order, each as on the wire.
        rows: the rows of its turns: `turn_index`, `status`, `stop_reason`, `ok`, `duration_ms`, `error`.
        audit: the lines of its turns in the audit.
        forked_from: `session_id` and `turn_index` of what it has its first turns from, of a fork.
    """

    session_id: str
    kind: str
    closed: bool
    meta: dict[str, Any]
    events: list[Event]
    rows: list[dict[str, Any]]
    audit: list[dict[str, Any]]
    forked_from: dict[str, Any] | None = None

    def turns(self) -> list[Turn]:
        """All turns that the log or the rows tell of, in their order."""
        found = {row["turn_index"]: Turn(row["turn_index"], row) for row in self.rows}
        for event in self.events:
            if (index := event["turn_index"]) is not None:
                found.setdefault(index, Turn(index)).events.append(event)
        return [found[index] for index in sorted(found)]

    def own_turns(self) -> list[Turn]:
        """Those that were asked here: a fork has others from its source."""
        return [turn for turn in self.turns() if turn.index > self.inherited]

    @property
    def inherited(self) -> int:
        """The last turn that it has from its source; 0: none."""
        return 0 if self.forked_from is None else int(self.forked_from["turn_index"])


@dataclass(frozen=True, slots=True)
class Heard:
    """A prompt that reached an agent."""

    session_id: str
    mark: str


@dataclass(frozen=True, slots=True)
class Truth:
    """All of it."""

    sessions: Mapping[str, Stored]
    heard: list[Heard]


@dataclass(frozen=True, slots=True)
class Violation:
    """A law that was broken, and where to look."""

    law: str
    detail: str
    session_id: str | None = None
    mark: str | None = None

    def __str__(self) -> str:
        where = " ".join(each for each in (self.session_id, self.mark) if each)
        return f"{self.law}: {self.detail} [{where}]"
