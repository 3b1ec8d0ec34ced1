"""Whether a value fits a JSON Schema, by the keywords that schemas of data are made of. Pure.

The gateway knows all of JSON Schema. This knows what a dataclass, a TypedDict or a pydantic model comes to, and
lets pass what it does not know: enough for a test to see that its scripted answer is not what the app asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

_Check = Callable[[Any, Any], bool]
_NUMBER: Final = (int, float)


def _is(kind: str, value: Any) -> bool:
    if kind == "integer":
        return isinstance(value, _NUMBER) and not isinstance(value, bool) and value == int(value)
    if kind == "number":
        return isinstance(value, _NUMBER) and not isinstance(value, bool)
    kinds = {"string": str, "boolean": bool, "array": list, "object": dict, "null": type(None)}
    return isinstance(value, kinds[kind]) if kind in kinds else True


def _same(value: Any, wanted: Any) -> bool:
    # To Python 1 is True, to JSON it is not.
    return bool(value == wanted) and isinstance(value, bool) is isinstance(wanted, bool)


_BOUNDS: Final[Mapping[str, tuple[type | tuple[type, ...], _Check]]] = {
    "minimum": (_NUMBER, lambda value, bound: value >= bound),
    "maximum": (_NUMBER, lambda value, bound: value <= bound),
    "exclusiveMinimum": (_NUMBER, lambda value, bound: value > bound),
    "exclusiveMaximum": (_NUMBER, lambda value, bound: value < bound),
    "minLength": (str, lambda value, bound: len(value) >= bound),
    "maxLength": (str, lambda value, bound: len(value) <= bound),
    "minItems": (list, lambda value, bound: len(value) >= bound),
    "maxItems": (list, lambda value, bound: len(value) <= bound),
}


def errors(schema: Mapping[str, Any], value: Any) -> list[str]:
    """What is wrong with a value, a sentence each; nothing where it fits."""
    return list(_errors(schema, value, "", schema))


def _errors(schema: Any, value: Any, at: str, root: Mapping[str, Any]) -> Iterator[str]:
    if isinstance(schema, bool):
        if not schema:
            yield f"{at or '/'}: nothing fits here"
        return
    where = at or "/"
    if "$ref" in schema:
        yield from _errors(_found(schema["$ref"], root), value, at, root)
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(_is(kind, value) for kind in kinds):
        yield f"{where}: {value!r} is not of type {' or '.join(kinds)}"
        return
    if "const" in schema and not _same(value, schema["const"]):
        yield f"{where}: {schema['const']!r} was expected"
    if "enum" in schema and not any(_same(value, each) for each in schema["enum"]):
        yield f"{where}: {value!r} is not one of {schema['enum']!r}"
    for name, (kind, holds) in _BOUNDS.items():
        if (
            name in schema
            and isinstance(value, kind)
            and not isinstance(value, bool)
            and not holds(value, schema[name])
        ):
            yield f"{where}: {value!r} is beyond {name} {schema[name]}"
    yield from _combined(schema, value, at, root)
    if isinstance(value, dict):
        yield from _of_object(schema, value, at, root)
    if isinstance(value, list) and "items" in schema:
        begun = len(schema.get("prefixItems", []))
        for place, each in enumerate(value[begun:], begun):
            yield from _errors(schema["items"], each, f"{at}/{place}", root)
    if isinstance(value, list):
        for place, (part, each) in enumerate(zip(schema.get("prefixItems", []), value, strict=False)):
            yield from _errors(part, each, f"{at}/{place}", root)


def _combined(schema: Mapping[str, Any], value: Any, at: str, root: Mapping[str, Any]) -> Iterator[str]:
    for part in schema.get("allOf", []):
        yield from _errors(part, value, at, root)
    for name in ("anyOf", "oneOf"):
        wrong = [list(_errors(part, value, at, root)) for part in schema.get(name, [])]
        if wrong and all(wrong):
            yield f"{at or '/'}: {value!r} fits none of {name}: {'; '.join(each[0] for each in wrong)}"


def _of_object(
    schema: Mapping[str, Any], value: Mapping[str, Any], at: str, root: Mapping[str, Any]
) -> Iterator[str]:
    known = schema.get("properties", {})
    for name in schema.get("required", []):
        if name not in value:
            yield f"{at or '/'}: {name!r} is a required property"
    others = schema.get("additionalProperties", True)
    for name, each in value.items():
        if name in known:
            yield from _errors(known[name], each, f"{at}/{name}", root)
        elif others is False:
            yield f"{at or '/'}: {name!r} was unexpected"
        else:
            yield from _errors(others, each, f"{at}/{name}", root)


def _found(ref: str, root: Mapping[str, Any]) -> Any:
    """What a reference within the schema leads to; of another one, what lets everything pass."""
    here: Any = root
    if not ref.startswith("#"):
        return True
    steps = (step.replace("~1", "/").replace("~0", "~") for step in ref.split("/")[1:])
    for step in steps:
        if not isinstance(here, Mapping) or step not in here:
            return True
        here = here[step]
    return here
