"""From an agent's folded events to a result: the final text, parsed where it is JSON. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from clawdforge.wire import events

_FENCES: Final = ("```", "~~~")


def final_text(folded: Sequence[Mapping[str, Any]]) -> str:
    """The text after the last tool call; where there is none, all text."""
    texts: list[str] = []
    spoken: list[str] = []
    for event in folded:
        if event["type"] == events.TOOL_CALL:
            texts.clear()
        elif event["type"] == events.TEXT:
            texts.append(event["content"])
            spoken.append(event["content"])
    return "".join(texts or spoken)


def parse(text: str) -> Any:
    """The text without an enclosing code fence, as the JSON that it is, else as it stands."""
    text = _unfenced(text)
    try:
        value = json.loads(text, parse_constant=_not_json, parse_float=_finite)
        json.dumps(value, ensure_ascii=False).encode()  # a lone surrogate cannot be answered
    except (ValueError, RecursionError):
        return text
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


def _not_json(word: str) -> Any:
    raise ValueError(word)


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(digits)
    return number
