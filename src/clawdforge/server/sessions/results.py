"""From an agent's folded events to a result: the final text, parsed where it is JSON, judged by a schema. Pure."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import jsonschema_rs

from clawdforge.wire import events
from clawdforge.wire.problems import invalid

_FENCE: Final = re.compile(r"\A\s*(`{3,}|~{3,})[^\n`]*\n(.*?)\n?[ \t]*\1\s*\Z", re.DOTALL)
_ERRORS_SHOWN: Final = 10
_COMPLAINT_CHARS: Final = 300


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a result fits its schema; both None where there is none."""

    valid: bool | None = None
    errors: list[str] | None = None


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
    if fenced := _FENCE.match(text):
        text = fenced.group(2)
    try:
        value = json.loads(text, parse_constant=_not_json, parse_float=_finite)
        json.dumps(value, ensure_ascii=False).encode()  # a lone surrogate cannot be answered
    except (ValueError, RecursionError):
        return text
    return value


def check_schema(schema: Mapping[str, Any] | None) -> None:
    """Refuses a schema that is none.

    Raises:
        Problem: `invalid`.
    """
    if schema is not None:
        _validator(schema)


def judge(result: Any, schema: Mapping[str, Any] | None) -> Verdict:
    """Whether a result fits a schema that `check_schema` let through."""
    if schema is None:
        return Verdict()
    found = [_complaint(error) for error in _validator(schema).iter_errors(result)]
    return Verdict(not found, found[:_ERRORS_SHOWN])


def _complaint(error: jsonschema_rs.ValidationError) -> str:
    place = "/" + "/".join(str(step) for step in error.instance_path)
    return f"{place}: {error.message}"[:_COMPLAINT_CHARS]


def _validator(schema: Mapping[str, Any]) -> jsonschema_rs.Validator:
    try:
        # Nothing is fetched for a $ref, and a pattern cannot run away: its matching is linear.
        return jsonschema_rs.validator_for(
            dict(schema), offline=True, pattern_options=jsonschema_rs.RegexOptions()
        )
    except (ValueError, jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError) as error:
        reason = str(getattr(error, "message", error))[:_COMPLAINT_CHARS]
        raise invalid(f"the schema is no usable JSON Schema: {reason}", "schema") from error


def _not_json(word: str) -> Any:
    raise ValueError(word)


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(digits)
    return number
