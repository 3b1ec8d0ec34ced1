"""What clients asked, were answered and saw, and what was done to them: recorded as it happens, judged afterwards.

Values only. Times are epoch milliseconds, as the gateway's own.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Final, Literal

What = Literal["turn", "run", "session", "close", "cancel", "permission", "record"]
Form = Literal["blocking", "async", "stream"]
Way = Literal["sse", "page", "poll", "turn", "replay"]
Blow = Literal["agent", "tree", "pause", "kill", "stop"]


def now_ms() -> int:
    """The time of a record."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Script:
    """What an agent is told to do, and what comes of that where nobody disturbs it.

    Attributes:
        does: the directives.
        stop_reason: how a turn that does it ends.
        ok: whether that is ok.
        text: what the answer then says; None where that cannot be known.
        timeout_s: the deadline that is asked for; a script that hangs has one.
    """

    does: str
    stop_reason: str = "end_turn"
    ok: bool = True
    text: str | None = ""
    timeout_s: int | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """One thing that one client wants, in however many attempts.

    Attributes:
        mark: no other ask has it; it stands in the prompt, and in the meta of a session.
        session_id: where; None where the ask makes the session.
        key: its `Idempotency-Key`; an ask without one is attempted once.
        turn_index: of which turn, where it is about one.
        permission_id: which request it answers, where it does.
    """

    mark: str
    what: What
    session_id: str | None = None
    key: str | None = None
    script: Script | None = None
    turn_index: int | None = None
    permission_id: str | None = None

    @property
    def prompt(self) -> str:
        """What is said to the agent."""
        assert self.script is not None
        return f"{OPENING}{self.mark}: {self.script.does}"


OPENING: Final = "ask "


def mark_of(prompt: str) -> str | None:
    """The mark of the ask that a prompt belongs to."""
    head, colon, _ = prompt.partition(": ")
    return head.removeprefix(OPENING) if colon and head.startswith(OPENING) else None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request, and its answer.

    Attributes:
        status: None where the connection broke before the whole answer was there.
        body: the answer's JSON; of a stream, where the turn is and its last event.
        replayed: it said that it is an answer given before.
        form: how the answer was wanted.
    """

    ask: Ask
    began_ms: int
    ended_ms: int
    status: int | None
    body: Any = None
    replayed: bool = False
    form: Form = "blocking"


@dataclass(slots=True)
class Reading:
    """Events that one request showed a reader, in the order in which they came.

    Attributes:
        after: where the reader said that it stood.
        texts: the events' JSON, byte for byte where they came as a stream.
    """

    reader: str
    session_id: str
    way: Way
    after: int
    texts: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Strike:
    """What the nemesis did: to the agent of a session, or to the gateway."""

    blow: Blow
    began_ms: int
    ended_ms: int
    session_id: str | None = None


@dataclass(slots=True)
class History:
    """All of it. Threads append to the lists; equal texts are kept once."""

    attempts: list[Attempt] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    strikes: list[Strike] = field(default_factory=list)
    _texts: dict[str, str] = field(default_factory=dict)

    def same(self, text: str) -> str:
        """This text, kept once however many readers see it."""
        return self._texts.setdefault(text, text)
