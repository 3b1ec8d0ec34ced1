"""Hides secrets in what an agent tells: exact occurrences, also where a stream of text has cut one in two.

A net for accidents, not a wall: an agent that wants to tell what it knows can spell it in another way. Must not
guess what a secret is: it is told the gateway's own, that an agent was given.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from typing import Any, Final

from clawdforge.wire import events
from clawdforge.wire.events import Draft
from clawdforge.wire.permissions import PermissionAsk, PermissionOption

HIDDEN: Final = "[secret]"
_STREAMED: Final = (events.TEXT, events.THINKING)
_HEAD_CHARS: Final = 4
_TOKEN_MIN_CHARS: Final = 20
_SECRET_WORDS: Final = ("KEY", "TOKEN", "SECRET", "PASSWORD")


def names_a_secret(name: str) -> bool:
    """Whether what goes by this name, of a variable or a field, is not to be shown."""
    return any(word in name.upper() for word in _SECRET_WORDS)


def tokens(login: bytes) -> frozenset[str]:
    """The secrets in a login file, where it is JSON: long strings in fields that are named like secrets."""
    try:
        return frozenset(_tokens(json.loads(login)))
    except (ValueError, RecursionError):
        return frozenset()


def _tokens(value: Any, name: str = "") -> Iterator[str]:
    if isinstance(value, str) and len(value) >= _TOKEN_MIN_CHARS and names_a_secret(name):
        yield value
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from _tokens(each, key)
    elif isinstance(value, list):
        for each in value:
            yield from _tokens(each, name)


class Redactor:
    """Passes on what one agent tells, without the secrets. With no secrets it only passes on.

    While a prompt runs, the end of a text is held back where it may be the beginning of a secret: at most one
    character less than the longest has, until the next event, or the end of the prompt.

    Args:
        secrets: strings of some length, none empty.
        on_update: gets the events, in their order.
    """

    def __init__(self, secrets: Collection[str], on_update: Callable[[Draft], None]) -> None:
        self._on_update = on_update
        # The longest first: one may be the beginning of another.
        self._secrets = tuple(sorted(secrets, key=len, reverse=True))
        self._pattern = re.compile("|".join(map(re.escape, self._secrets)))
        self._heads = tuple({each[:_HEAD_CHARS] for each in self._secrets})
        self._short_heads = tuple({head[:length] for head in self._heads for length in range(1, len(head))})
        self._holding = False
        self._held: Draft | None = None

    def begin(self) -> None:
        """A prompt is sent."""
        self._holding = True

    def end(self) -> None:
        """The prompt is over."""
        self.flush()
        self._holding = False

    def take(self, draft: Draft) -> None:
        """Takes the next event."""
        if not self._secrets:
            self._on_update(draft)
        elif draft.type in _STREAMED:
            if draft.data["content"]:  # an empty one says nothing, and parts nothing
                self._stream(draft)
        else:
            self.flush()
            self._on_update(Draft(draft.type, self.hide(draft.data)))

    def flush(self) -> None:
        """Passes on what is held back."""
        held, self._held = self._held, None
        if held is not None:
            self._on_update(Draft(held.type, self.hide(held.data)))

    def hide(self, value: Any) -> Any:
        """A JSON value without the secrets in any of its strings; the same object where there are none."""
        return self._hidden(value) if self._secrets and self._may_show(value) else value

    def ask(self, ask: PermissionAsk) -> PermissionAsk:
        """A permission request as it may be shown. Its paths stay as they are: they are judged, not shown."""
        if not self._secrets:
            return ask
        options = tuple(
            PermissionOption(*(self.hide(text) for text in (each.option_id, each.name, each.kind)))
            for each in ask.options
        )
        title, call_id = self.hide(ask.title), self.hide(ask.tool_call_id)
        return replace(ask, title=title, tool_call_id=call_id, kind=self.hide(ask.kind), options=options)

    def _stream(self, draft: Draft) -> None:
        held = self._held
        if held is not None and _stream_of(held) == _stream_of(draft):
            self._held = None
            draft = _with_text(draft, held.data["content"] + draft.data["content"])
        elif held is not None:
            self.flush()
        text = draft.data["content"]
        # Nearly all text ends here.
        if not self._may_show(text) and not (self._holding and text.endswith(self._short_heads)):
            self._on_update(draft)
            return
        shown, rest = self._parted(text) if self._holding else (self._pattern.sub(HIDDEN, text), "")
        if rest:
            self._held = _with_text(draft, rest)
        if shown:
            self._on_update(_with_text(draft, shown))

    def _parted(self, text: str) -> tuple[str, str]:
        """A text without its secrets, and its end, from where that may be the beginning of one."""
        shown: list[str] = []
        done = 0
        while True:
            found = self._pattern.search(text, done)
            open_at = self._open_at(text, done)
            # A longer one may begin before the one that was found, or where it does.
            if found is None or open_at <= found.start():
                return "".join([*shown, text[done:open_at]]), text[open_at:]
            shown += [text[done : found.start()], HIDDEN]
            done = found.end()

    def _open_at(self, text: str, start: int) -> int:
        """The first place from `start` on where all that follows begins a secret that is longer; else its end."""
        first = len(text)
        for secret in self._secrets:
            at = text.find(secret[0], max(start, len(text) - len(secret) + 1), first)
            while at >= 0 and not secret.startswith(text[at:]):
                at = text.find(secret[0], at + 1, first)
            if at >= 0:
                first = at
        return first

    def _may_show(self, value: Any) -> bool:
        """Whether a secret begins anywhere in a value. Plain loops: `any` would take three times as long."""
        kind = type(value)
        if kind is str:
            for head in self._heads:
                if head in value:
                    return True
        elif kind is dict:
            for name in value:
                if self._may_show(name) or self._may_show(value[name]):
                    return True
        elif kind is list:
            for each in value:
                if self._may_show(each):
                    return True
        return False

    def _hidden(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._pattern.sub(HIDDEN, value)
        if isinstance(value, dict):
            return {self._hidden(name): self._hidden(each) for name, each in value.items()}
        if isinstance(value, list):
            return [self._hidden(each) for each in value]
        return value


def _stream_of(draft: Draft) -> tuple[str, Any]:
    return draft.type, draft.data.get("message_id")


def _with_text(draft: Draft, text: str) -> Draft:
    return Draft(draft.type, {**draft.data, "content": text})
