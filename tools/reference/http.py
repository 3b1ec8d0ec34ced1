"""The calls and values of the gateway's OpenAPI document."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from clawdforge.server.http.routes import application

Schema = Mapping[str, Any]

COMPONENTS: Final = "#/components/schemas/"
ERRORS_BEGIN: Final = "400"
BOUNDS: Final = (
    ("minimum", "maximum", ""),
    ("minLength", "maxLength", " characters"),
    ("minItems", "maxItems", " items"),
)


def page() -> str:
    """Each call with what it takes and answers, then each value that is named there."""
    rooms: Any = None  # the document is made of the routes alone
    document = json.loads(application(rooms).document())
    parts = ["\n## Calls"]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            parts += _call(method.upper(), path, operation)
    parts.append("## Values")
    for name, schema in sorted(document["components"]["schemas"].items()):
        parts += [f"### {name}", *_value(schema)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _call(method: str, path: str, operation: Schema) -> Iterator[str]:
    yield f"### `{method} {path}`"
    yield f"{operation['summary']}."
    yield operation.get("description", "")
    rows = [
        (f"`{each['name']}`", each["in"], _kind(each["schema"]), each.get("description", ""))
        for each in operation.get("parameters", ())
    ]
    yield _table(("parameter", "in", "type"), rows)
    for form, content in operation.get("requestBody", {}).get("content", {}).items():
        yield f"Body, `{form}`: {_kind(content['schema'])}"
        yield from _value(content["schema"])
    answers = sorted(operation["responses"].items())
    for status, answer in answers:
        if status < ERRORS_BEGIN:
            contents = answer.get("content", {})
            forms = [f"{_kind(content['schema'])} (`{form}`)" for form, content in contents.items()]
            yield f"Answer {status}: {', or '.join(forms) or 'no body'}"
            for content in contents.values():
                yield from _value(content["schema"])
    errors = ", ".join(f"{status} {each['description']}" for status, each in answers if status >= ERRORS_BEGIN)
    yield f"Errors: {errors}"


def _value(schema: Schema) -> Iterator[str]:
    """What is said of a value, and a table of its fields, where it has any."""
    words, attributes = _described(schema.get("description", ""))
    yield words
    required = schema.get("required", ())
    rows = []
    for name, field in schema.get("properties", {}).items():
        told = field.get("description", attributes.get(name, "")).rstrip(".")
        notes = [told, "" if name in required else "may be left out"]
        if field.get("default") is not None:
            notes.append(f"default `{json.dumps(field['default'])}`")
        rows.append((f"`{name}`", _kind(field), "; ".join(filter(None, notes))))
    yield _table(("field", "type"), rows)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table, and beside it what there is to say of its rows, the last cell of each; "" without rows."""
    if not rows:
        return ""
    columns = len(heads) + any(row[-1] for row in rows)
    lines = [[*heads, ""], ["---"] * (len(heads) + 1), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line[:columns]))} |" for line in lines)


def _described(text: str) -> tuple[str, dict[str, str]]:
    """A docstring without its attributes, and what it says of each of these."""
    words, _, listed = text.partition("\nAttributes:\n")
    attributes: dict[str, str] = {}
    name = ""
    for line in listed.splitlines():
        begun = re.match(r" {4}(\w+): ", line)
        name = begun[1] if begun else name
        attributes[name] = f"{attributes.get(name, '')} {line[begun.end() if begun else 0 :].strip()}".strip()
    return words, attributes


def _kind(schema: Schema) -> str:
    """What a value is, in words; a named value as a link to it."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(COMPONENTS)
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_kind(each) for each in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"`{json.dumps(each)}`" for each in schema["enum"])
    kind = schema.get("type", "anything")
    words = " or ".join(kind) if isinstance(kind, list) else kind
    if kind == "array" and schema.get("items"):
        words = f"array of {_kind(schema['items'])}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        words = f"object of {_kind(schema['additionalProperties'])}"
    bounds = ", ".join(
        filter(None, (_range(schema.get(low), schema.get(high), unit) for low, high, unit in BOUNDS))
    )
    return f"{words} ({bounds})" if bounds else words


def _range(low: int | None, high: int | None, unit: str) -> str:
    if high is None:
        return f"{low} or more{unit}" if low else ""
    return f"{low or 0} to {high}{unit}"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
