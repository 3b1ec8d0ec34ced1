"""What the fake's agent says and does: steps, the answers made of them, and which prompt gets which.

Must not know HTTP, nor where a step leads to: `turns` plays them.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from clawdforge.wire import codec, events
from clawdforge.wire.events import Draft
from clawdforge.wire.usage import Usage

if TYPE_CHECKING:
    from clawdforge.testing.fake_gateway.prompt import Prompt

FAILURES: Final = ("agent_failed", "timeout", "interrupted", "budget_exceeded")
"""Ends of a turn that are answered with an error."""
STOP_REASONS: Final = ("end_turn", "max_tokens", "max_turn_requests", "refusal", "cancelled")
"""Ends that are answered with the turn."""
_OPTIONS: Final = ("allow_once", "allow_always", "reject_once")
_EVERY_EVENTS: Final = frozenset({"seq", "type", "turn_index", "ts"})


@dataclass(frozen=True, slots=True)
class Ask:
    """The agent asks for permission to use a tool; a script that is a generator hears the decision."""

    title: str
    kind: str
    options: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Write:
    """The agent writes a file of its workspace; None: it removes it."""

    path: str
    content: bytes | None


@dataclass(frozen=True, slots=True)
class End:
    """The turn ends here, so."""

    stop_reason: str
    detail: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Told:
    """What the agent tells with its end: its own count of tokens, its model."""

    usage: Usage | None = None
    model: str | None = None
    schema_errors: tuple[str, ...] | None = None


class Gate:
    """The turn waits here until the test opens the gate, the turn is cancelled, or its time is over.

    Attributes:
        is_open: whether turns go through.
    """

    def __init__(self, ring: Callable[[], None] = lambda: None) -> None:
        self._ring = ring
        self._come = threading.Event()
        self.is_open: bool = False

    def reached(self, *, within_s: float = 10.0) -> None:
        """Returns once a turn has come here.

        Raises:
            TimeoutError: none came in time.
        """
        if not self._come.wait(within_s):
            raise TimeoutError(f"no turn came to the gate in {within_s:g} s")

    def come(self) -> None:
        """A turn has come here."""
        self._come.set()

    def open(self) -> None:
        """Lets through who waits, and whoever comes. Safe to repeat, and from every thread."""
        self.is_open = True
        self._ring()


Step = Draft | Ask | Write | Gate | End | Told
Steps = Generator[Step, Any, None]
Answerer = Callable[["Prompt"], Any]
_STEPS: Final = (Draft, Ask, Write, Gate, End, Told)


def text(content: str) -> Draft:
    """A piece of the answer; pieces next to each other are one text in the end."""
    return Draft(events.TEXT, {"content": content})


def thinking(content: str) -> Draft:
    """A piece of what the agent thinks."""
    return Draft(events.THINKING, {"content": content})


def tool_call(
    name: str,
    args: Any = None,
    result: Any = None,
    *,
    kind: str = "other",
    status: str = "completed",
    title: str | None = None,
    id: str | None = None,
) -> Draft:
    """The use of a tool. With an `id` that was there before, it is that call in a later state."""
    told = {"name": name, "title": title or name, "kind": kind, "status": status, "args": args, "result": result}
    return Draft(events.TOOL_CALL, {"id": id, **told, "locations": [], "diffs": []})


def plan(*entries: str) -> Draft:
    """The agent's plan, as it is now."""
    rows = [{"content": each, "priority": "medium", "status": "pending"} for each in entries]
    return Draft(events.PLAN, {"entries": rows})


def event(type: str, **fields: Any) -> Draft:
    """An event of any type, also of one that nobody knows yet.

    Raises:
        ValueError: a field has a name that is every event's own.
    """
    if taken := _EVERY_EVENTS & fields.keys():
        raise ValueError(f"every event has a field of its own by that name: {', '.join(sorted(taken))}")
    return Draft(type, fields)


def ask(title: str, *, kind: str = "execute", options: tuple[str, ...] = _OPTIONS) -> Ask:
    """The agent asks before it uses a tool. Who answers is the session's `permissions`, as on a real gateway.

    In a generator the decision is the value of the `yield`: `"allow"`, `"allow_always"`, `"reject"`,
    `"reject_always"`, or `"cancelled"`.

    Args:
        title: what it wants to do, for a person.
        kind: ACP's kind of tool: read, edit, delete, move, search, execute, think, fetch, other.
        options: the kinds of the answers that it offers.
    """
    return Ask(title, kind, options)


def write(path: str, content: str | bytes) -> Write:
    """The agent writes a file of its workspace, and tells of it by a tool call.

    Raises:
        ValueError: the path does not lead to a place below the workspace.
    """
    return Write(_below(path), content.encode() if isinstance(content, str) else bytes(content))


def remove(path: str) -> Write:
    """The agent removes a file of its workspace, and tells of it by a tool call."""
    return Write(_below(path), None)


def hang() -> Gate:
    """A gate that nobody opens: the agent does nothing more until its turn is cancelled, or its time is over."""
    return Gate()


def stop(stop_reason: str) -> End:
    """The turn ends here, with this stop reason: `end_turn`, `max_tokens`, `refusal`, `cancelled`, …

    Raises:
        ValueError: there is no such reason. For a turn that fails there is `fail`.
    """
    if stop_reason not in STOP_REASONS:
        raise ValueError(f"a turn that does not fail ends with one of: {', '.join(STOP_REASONS)}")
    return End(stop_reason)


def fail(code: str, detail: str = "", **extra: Any) -> End:
    """The turn fails here: `agent_failed`, `timeout`, `interrupted` or `budget_exceeded`.

    Args:
        code: which end it is.
        detail: what a person is told.
        extra: what the error tells besides: `exit_code` and `stderr_tail`, `phase`, `limit`.

    Raises:
        ValueError: no turn ends so. What is refused before a turn begins is `FakeGateway.refuses`.
    """
    if code not in FAILURES:
        raise ValueError(f"a turn that fails ends with one of: {', '.join(FAILURES)}")
    usual: dict[str, Any] = {}
    if code == "agent_failed":
        usual = {"exit_code": 1, "stderr_tail": ""}
    elif code == "timeout":
        usual = {"phase": "total"}
    return End(code, detail or f"the fake gateway was told that this turn ends {code}", {**usual, **extra})


def of(parts: tuple[Any, ...], repair: tuple[Any, ...] | None = None) -> Answerer:
    """What answers a prompt with these parts: texts, steps, and all else as JSON.

    Args:
        parts: what is said.
        repair: what is said where that did not fit its schema, and is asked for once more; None: the same again.
    """
    return lambda prompt: iter(repair if prompt.errors and repair is not None else parts)


def check(part: Any) -> None:
    """Returns where a part can be said. Raises ValueError or TypeError where it cannot, or is no JSON."""
    step = _step(part)
    if isinstance(step, Draft):
        codec.text(step.data)


def played(answerer: Answerer, prompt: Prompt) -> Steps:
    """The steps by which a prompt is answered: of a text, a step, a generator of them, or a value as JSON.

    A function that answers None leaves the prompt to the echo.
    """
    answer = answerer(prompt)
    answer = _echo(prompt) if answer is None else answer
    if isinstance(answer, Generator):
        with closing(answer):
            heard = None
            while True:
                try:
                    part = answer.send(heard)
                except StopIteration:
                    return
                heard = yield _step(part)
    elif isinstance(answer, Iterator):
        for part in answer:
            yield _step(part)
    else:
        yield _step(answer)


def _step(part: Any) -> Step:
    if not isinstance(part, _STEPS):
        return text(part if isinstance(part, str) else codec.text(part))
    if isinstance(part, Draft) and part.type in events.STREAMED and not isinstance(part.data.get("content"), str):
        raise TypeError(f"a {part.type} event has a text, its content")
    if isinstance(part, Draft) and part.type == events.TOOL_CALL_UPDATE and "id" not in part.data:
        raise TypeError("a tool_call_update has an id")
    return part


def _below(path: str) -> str:
    if any(step in ("", ".", "..") for step in path.split("/")):
        raise ValueError(f"{path!r} is no path below the workspace")
    return path


class Script:
    """What the next prompts are answered with, in their order; then what a function says, else an echo."""

    def __init__(self) -> None:
        self._next: deque[Answerer] = deque()
        self.always: Answerer | None = None

    def add(self, answerer: Answerer) -> None:
        """One more prompt is answered so."""
        self._next.append(answerer)

    def take(self) -> Answerer:
        """What answers the prompt that is let in now."""
        return self._next.popleft() if self._next else self.always or _echo

    @property
    def left(self) -> int:
        """How many answers no prompt has come for yet."""
        return len(self._next)


def _echo(prompt: Prompt) -> str:
    return f"turn {prompt.turn_index}: {prompt.text}"
