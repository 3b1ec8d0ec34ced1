"""What the model answers, in no vendor's format: directives in, a `Reply` or a `Failure` out. No I/O."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

DIRECTIVE = re.compile(r"\[\[([A-Z]+)(?:\s(.*?))?\]\](?!\])", re.DOTALL)
PIECE_CHARS = 1 << 16


@dataclass(frozen=True, slots=True)
class Ask:
    """A model request, as the script sees it."""

    model: str
    streams: bool
    user_texts: tuple[tuple[str, ...], ...]
    """The text blocks of each user message, oldest first."""
    system: str = ""
    """The agent's instructions: every system text, joined by blank lines."""
    effort: str | None = None
    thinks: bool = False
    """Whether thinking is asked for, to be shown."""
    tools: frozenset[str] = frozenset()
    """The names of the tools that it offers."""
    tool_result: str | None = None
    """What the last message brings back from tools, if it does."""
    side: bool = False
    """Sent by the agent on its own account."""
    side_answer: str = ""
    """What answers such a request, where the agent would make do with nothing else."""

    @property
    def last_text(self) -> str:
        """The block of the last user message that gives the orders: the last one with a directive, else the last.

        An agent puts its own blocks around a prompt, and a prompt that was cancelled before the next one.
        """
        blocks = self.user_texts[-1] if self.user_texts else ()
        ordering = [block for block in blocks if DIRECTIVE.search(block)]
        return (ordering or blocks or ("",))[-1]

    @property
    def orders(self) -> list[tuple[str, str]]:
        """The directives that it has to be answered by: a message without any has what the last with some says."""
        if found := DIRECTIVE.findall(self.last_text):
            return found
        before = (DIRECTIVE.findall("".join(blocks)) for blocks in reversed(self.user_texts[:-1]))
        last = next((each for each in before if each), [])
        then = (argument.partition(" ") for verb, argument in last if verb == "THEN")
        return [(verb, rest) for verb, _, rest in then]


@dataclass(frozen=True, slots=True)
class Text:
    pieces: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Thinking:
    text: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    """`name` is a tool of the agent, or one of WRITE, BASH and READ, which each format names in its own way."""

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Reply:
    parts: tuple[Text | Thinking | ToolCall, ...] = ()
    stop: str = ""
    """A stop reason, verbatim; empty: the ordinary one for these parts."""
    silence_s: float = 0.0
    pause_s: float = 0.0
    """Before each piece of text."""
    cut: bool = False

    @property
    def calls_tool(self) -> bool:
        return any(isinstance(part, ToolCall) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Failure:
    """An HTTP error; status 0 is a connection closed without an answer."""

    status: int

    @property
    def message(self) -> str:
        return f"fake model error {self.status}"


def reply_to(ask: Ask, earlier: int) -> Reply | Failure:
    """The answer; `earlier` says how many requests with this last text came before.

    Raises:
        ValueError: a directive is unknown or its argument is wrong.
    """
    directives = DIRECTIVE.findall(ask.last_text)
    if ask.tool_result is not None and not directives:  # with both, the result is of a turn that was cancelled
        return spoken(f"TOOLDONE: {ask.tool_result}")
    if ask.side_answer:
        return spoken(ask.side_answer)
    directives = ask.orders
    if ask.side or not directives:
        return spoken(f"FAKE: {ask.last_text}")
    for verb, argument in directives:
        failure = failed(verb, argument, earlier)
        if failure:
            return failure
    reply = Reply()
    for verb, argument in directives:
        if verb not in VERBS:
            raise ValueError(f"no such directive: {verb}")
        reply = VERBS[verb](ask, reply, argument)
    if reply.parts and all(isinstance(part, Thinking) for part in reply.parts):
        return plus(reply, Text(("thought",)))
    return reply


def failed(verb: str, argument: str, earlier: int) -> Failure | None:
    if verb == "DROP":
        return Failure(0)
    if verb != "ERR":
        return None
    status, _, times = argument.partition(" ")
    return None if times and earlier >= int(times) else Failure(int(status))


def spoken(text: str) -> Reply:
    return Reply((Text(tuple(in_words(text))),))


def in_words(text: str) -> Iterator[str]:
    """A few pieces, as a model streams them."""
    head, _, tail = text[:PIECE_CHARS].partition(" ")
    yield from (piece for piece in (head, tail and f" {tail}") if piece)
    for start in range(PIECE_CHARS, len(text), PIECE_CHARS):
        yield text[start : start + PIECE_CHARS]


def plus(reply: Reply, part: Text | Thinking | ToolCall) -> Reply:
    return replace(reply, parts=(*reply.parts, part))


def echo(ask: Ask, reply: Reply, text: str) -> Reply:
    turns = sum(bool(DIRECTIVE.search(block)) for blocks in ask.user_texts for block in blocks)
    return plus(reply, Text((f"turns={turns} ", f"last={text}")))


def say(ask: Ask, reply: Reply, text: str) -> Reply:
    return plus(reply, Text(tuple(in_words(text))))


def fenced_json(ask: Ask, reply: Reply, text: str) -> Reply:
    return plus(reply, Text(("```json\n", text, "\n```")))


def think(ask: Ask, reply: Reply, text: str) -> Reply:
    return plus(reply, Thinking(text))


def write(ask: Ask, reply: Reply, argument: str) -> Reply:
    path, _, content = argument.partition(" ")
    return plus(reply, ToolCall("WRITE", {"path": path, "content": content}))


def tool(ask: Ask, reply: Reply, argument: str) -> Reply:
    name, _, arguments = argument.partition(" ")
    return plus(reply, ToolCall(name, json.loads(arguments or "{}")))


def slow(ask: Ask, reply: Reply, argument: str) -> Reply:
    count, _, pause_s = argument.partition(" ")
    pieces = tuple(f"{number} " for number in range(int(count)))
    return replace(plus(reply, Text(pieces)), pause_s=float(pause_s or 0.1))


def big(ask: Ask, reply: Reply, size: str) -> Reply:
    left = range(int(size), 0, -PIECE_CHARS)
    return plus(reply, Text(tuple("x" * min(chars, PIECE_CHARS) for chars in left)))


def hang(ask: Ask, reply: Reply, seconds: str) -> Reply:
    reply = replace(reply, silence_s=float(seconds))
    return plus(reply, Text(("hung",)))


VERBS: dict[str, Callable[[Ask, Reply, str], Reply]] = {
    "ECHO": echo,
    "SAY": say,
    "JSON": fenced_json,
    "THEN": lambda ask, reply, _: reply,
    "THINK": think,
    "WRITE": write,
    "BASH": lambda ask, reply, command: plus(reply, ToolCall("BASH", {"command": command})),
    "READ": lambda ask, reply, path: plus(reply, ToolCall("READ", {"path": path})),
    "TOOL": tool,
    "STOP": lambda ask, reply, reason: replace(reply, stop=reason),
    "REFUSE": lambda ask, reply, _: replace(reply, stop="refusal"),
    "EMPTY": lambda ask, reply, _: reply,
    "BIG": big,
    "SLOW": slow,
    "HANG": hang,
    "ERR": lambda ask, reply, _: plus(reply, Text(("recovered",))),
    "CUT": lambda ask, reply, _: replace(reply, cut=True),
}
