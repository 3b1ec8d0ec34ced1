"""JSON objects to wire values and back. Reading is tolerant: unknown fields are ignored, never an error."""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, Final, TypeVar

T = TypeVar("T")

# Kept, because `json.dumps` with arguments makes an encoder a call: that was 40 % of a small event's cost.
text: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
"""Compact JSON text; NaN and infinities raise ValueError instead of becoming invalid JSON."""


class Malformed(ValueError):
    """An object lacks a field that its type needs, or holds one of a wrong type."""


def to_json(value: Any) -> dict[str, Any]:
    """A wire value as a JSON object; fields marked `omit_none` are left out where they are None."""
    return {
        name: item
        for name, omit_none in _written(value.__class__)
        if (item := getattr(value, name)) is not None or not omit_none
    }


def whole(value: Any) -> str:
    """A wire value as compact JSON text, the wire values in its fields and lists included."""
    return _whole(to_json(value))


# `default` is asked only for what JSON has no word for.
_whole: Final = json.JSONEncoder(
    ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=to_json
).encode


@cache
def _written(cls: type[Any]) -> tuple[tuple[str, bool], ...]:
    return tuple((field.name, bool(field.metadata.get("omit_none"))) for field in dataclasses.fields(cls))


def dumps(body: Any) -> bytes:
    """`text`, as UTF-8."""
    return text(body).encode()


def from_json(cls: type[T], data: Mapping[str, Any], neutral: Mapping[str, Any] = MappingProxyType({})) -> T:
    """Reads a wire value from a JSON object, as older and newer gateways write it.

    A null where the type has none counts as missing; what is missing takes its value from `neutral`, then its
    default; a number with a fraction is rounded where an integer belongs.

    Raises:
        Malformed: a field without either is missing, or one has a wrong type.
    """
    values = dict(neutral)
    for name, (allowed, required) in _fields(cls).items():
        value = data.get(name)
        if value is None and (name not in data or (allowed and type(None) not in allowed)):
            if required and name not in values:
                raise Malformed(f"{cls.__name__}: the field {name!r} is missing")
            continue
        if isinstance(value, float) and int in allowed and float not in allowed and math.isfinite(value):
            value = round(value)
        if isinstance(value, Mapping):
            value = _inner(allowed, value)
        if allowed and not _fits(value, allowed):
            raise Malformed(f"{cls.__name__}: the field {name!r} is a {type(value).__name__}")
        values[name] = value
    return cls(**values)


def _inner(allowed: tuple[type, ...], data: Mapping[str, Any]) -> Any:
    """An object that stands in a field, as a wire value where the field wants one."""
    wanted = next((each for each in allowed if dataclasses.is_dataclass(each)), None)
    return data if wanted is None else from_json(wanted, data)


def _fits(value: Any, allowed: tuple[type, ...]) -> bool:
    # bool is an int to Python, but true is no number to JSON.
    return isinstance(value, allowed) and (not isinstance(value, bool) or bool in allowed)


_SHAPES: Final[dict[type[Any], dict[str, tuple[tuple[type, ...], bool]]]] = {}


def _fields(cls: type[Any]) -> dict[str, tuple[tuple[type, ...], bool]]:
    """Of each field: what isinstance can check, and whether it must be there. Worked out once a type."""
    if cls in _SHAPES:
        return _SHAPES[cls]
    hints = typing.get_type_hints(cls)
    _SHAPES[cls] = {
        field.name: (
            _runtime_types(hints[field.name]),
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING,
        )
        for field in dataclasses.fields(cls)
    }
    return _SHAPES[cls]


def _runtime_types(hint: Any) -> tuple[type, ...]:
    """What isinstance can check of a type hint; () where anything goes."""
    if hint is Any or isinstance(hint, typing.TypeVar):
        return ()
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return tuple(each for arm in typing.get_args(hint) for each in _runtime_types(arm))
    if origin is typing.Literal:
        return tuple({type(word) for word in typing.get_args(hint)})
    if origin is None:
        return (hint,)
    return (origin,)
