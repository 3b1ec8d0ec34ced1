"""From an agent's folded events to a result: the final text, parsed where it is JSON. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from clawdforge.wire import events

_FENCES: Final = ("```", "~~~")
_NONE: Final = object()


def final_text(folded: Sequence[Mapping[str, Any]]) -> str:
    """The text after the last tool call; where there is none, all text.

    Where the result was asked for again, what was said after that counts, if anything was.
    """
    before = ""
    texts: list[str] = []
    spoken: list[str] = []
    for event in folded:
        if event["type"] == events.SCHEMA_REPAIR:
            before = "".join(texts or spoken) or before
            texts.clear()
            spoken.clear()
        elif event["type"] == events.TOOL_CALL:
            texts.clear()
        elif event["type"] == events.TEXT:
            texts.append(event["content"])
            spoken.append(event["content"])
    return "".join(texts or spoken) or before


def spoken(folded: Iterable[Any]) -> str:
    """What a person reads: all text; where the result was asked for again, the text after that, if any."""
    before = ""
    texts: list[str] = []
    for event in folded:
        match event:
            case {"type": events.SCHEMA_REPAIR}:
                before = "".join(texts) or before
                texts.clear()
            case {"type": events.TEXT, "content": str(content)}:
                texts.append(content)
    return "".join(texts) or before


def parse(text: str, *, amid_words: bool = False) -> Any:
    """The text without an enclosing code fence, as the JSON that it is, else as it stands.

    With `amid_words` the JSON may also stand in the text's only code fence, with words around it.
    """
    text = _unfenced(text)
    value = _json(text)
    if value is _NONE and amid_words:
        value = _json(_only_fenced(text))
    return text if value is _NONE else value


def _json(text: str) -> Any:
    """What the text says as JSON; `_NONE` where it is none."""
    try:
        value = json.loads(text, parse_constant=_not_json, parse_float=_finite)
        json.dumps(value, ensure_ascii=False).encode()  # a lone surrogate cannot be answered
    except (ValueError, RecursionError):
        return _NONE
    return value


def _unfenced(text: str) -> str:
    """What one code fence encloses, if that is all there is; else the text as it stands."""
    first, opened, rest = text.strip().partition("\n")
    marks = first[: len(first) - len(first.lstrip(first[:1]))]
    if not opened or marks[:3] not in _FENCES or marks[0] in first[len(marks) :]:
        return text
    body, _, last = rest.rpartition("\n")
    closed_once = last.strip() == marks and not any(line.strip() == marks for line in body.split("\n"))
    return body if closed_once else text


def _only_fenced(text: str) -> str:
    """What the only code fence of a text encloses; empty where there is none, or more than one."""
    if not any(marks in text for marks in _FENCES):
        return ""
    found: list[list[str]] = []
    marks = ""
    for line in text.split("\n"):
        stripped = line.strip()
        if marks and stripped == marks:
            marks = ""
        elif marks:
            found[-1].append(line)
        elif stripped[:3] in _FENCES:
            marks = stripped[: len(stripped) - len(stripped.lstrip(stripped[0]))]
            found.append([])
    return "\n".join(found[0]) if len(found) == 1 and not marks else ""


def _not_json(word: str) -> Any:
    raise ValueError(word)


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(digits)
    return number
