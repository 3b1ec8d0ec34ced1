"""JSON bodies as the contract's values: as strict about fields and types as a gateway is.

Must not know what a body is for.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from functools import cache
from typing import Any, Final, NoReturn, TypeVar

from clawdforge.testing.fake_gateway.prompt import Request
from clawdforge.wire.bounds import Length, Range
from clawdforge.wire.problems import Problem

T = TypeVar("T")
_PRIMITIVES: Final[dict[type, str]] = {str: "text", int: "integer", bool: "boolean", dict: "object"}


def read(request: Request, kind: type[T], *, optional: bool = False) -> T:
    """The body as a value of the contract.

    Raises:
        Problem: `unsupported_media_type`, `bad_request` (no JSON) or `invalid` (not of the type).
    """
    if optional and not request.body:
        return kind()
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        detail = "the body must be of Content-Type application/json, in UTF-8"
        raise Problem("unsupported_media_type", detail)
    try:
        body = json.loads(request.body.decode(), parse_constant=_no_number, object_pairs_hook=_members)
    except (ValueError, RecursionError) as error:
        raise Problem("bad_request", f"the body is not JSON: {error}") from None
    cls: Any = kind
    hints = _hints(cls)
    if not isinstance(body, dict):
        _refuse((), "an object is wanted")
    for name in body:
        if name not in hints:
            _refuse((name,), "unknown field")
    for field in dataclasses.fields(cls):
        if field.name not in body and field.default is dataclasses.MISSING:
            _refuse((field.name,), "this field is missing")
    return kind(**{name: _fitting(value, hints[name], (name,)) for name, value in body.items()})


@cache
def _hints(kind: type[Any]) -> dict[str, Any]:
    hints = typing.get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _fitting(value: Any, hint: Any, loc: tuple[str | int, ...]) -> Any:
    """The value as its field holds it. Raises Problem `invalid` where it is none of the field's."""
    origin = typing.get_origin(hint)
    arms = typing.get_args(hint)
    if hint is Any:
        return value
    if origin is typing.Annotated:
        fitting = _fitting(value, arms[0], loc)
        for bound in arms[1:]:
            _check_bound(fitting, bound, loc)
        return fitting
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arms:
            return None
        return _fitting(value, next(each for each in arms if each is not type(None)), loc)
    if origin is typing.Literal:
        return value if value in arms else _refuse(loc, f"one of {', '.join(map(repr, arms))} is wanted")
    if origin is tuple:
        if not isinstance(value, list):
            _refuse(loc, "an array is wanted")
        return tuple(_fitting(each, arms[0], (*loc, place)) for place, each in enumerate(value))
    plain = origin or hint
    if not isinstance(value, plain) or (isinstance(value, bool) and plain is not bool):
        _refuse(loc, f"a value of type {_PRIMITIVES[plain]} is wanted")
    return value


def _check_bound(value: Any, bound: Any, loc: tuple[str | int, ...]) -> None:
    if isinstance(bound, Range) and not bound.lo <= value <= bound.hi:
        _refuse(loc, f"a number from {bound.lo} to {bound.hi} is wanted")
    if isinstance(bound, Length) and (len(value) < bound.lo or (bound.hi is not None and len(value) > bound.hi)):
        _refuse(loc, f"a length from {bound.lo} to {bound.hi or 'any'} is wanted")


def _refuse(loc: tuple[str | int, ...], message: str) -> NoReturn:
    where = ".".join(map(str, loc)) or "the root"
    raise Problem("invalid", f"{where}: {message}", errors=[{"loc": list(loc), "message": message}])


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return members


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")
