"""Type hints, as a caller writes them, as shapes. Each class is looked at once.

Must not read answers: that is the shapes' matter.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
import types
import typing
from collections import abc
from collections.abc import Mapping
from datetime import date, datetime, time
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NotRequired, Required, Union
from uuid import UUID

from clawdforge.client._records import Field, Model, Record
from clawdforge.client._shapes import (
    Anything,
    Choice,
    Described,
    Either,
    Items,
    Row,
    Scalar,
    Shape,
    Table,
    Text,
)

_CLASSES_KEPT: Final = 1_000
_ANYTHING: Final = Anything()
_PLAIN: Final[Mapping[Any, Shape]] = {
    Any: _ANYTHING,
    object: _ANYTHING,
    None: Scalar(type(None)),
    **{cls: Scalar(cls) for cls in (type(None), bool, int, float, str)},
    list: Items(_ANYTHING, list),
    tuple: Items(_ANYTHING, tuple),
    dict: Table(_ANYTHING),
    datetime: Text("a date and time of ISO 8601", datetime.fromisoformat, "date-time"),
    date: Text("a date of ISO 8601", date.fromisoformat, "date"),
    time: Text("a time of ISO 8601", time.fromisoformat, "time"),
    UUID: Text("a UUID", UUID, "uuid"),
    Path: Text("a path", Path),
}


def shape_of(hint: Any, place: str) -> Shape:
    """The shape of a type hint. `place` names it where something is wrong with it.

    Raises:
        TypeError: JSON cannot tell it.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is None:
        return _plain(hint, place)
    if origin is Annotated:
        shape = shape_of(arguments[0], place)
        described = next((each for each in arguments[1:] if isinstance(each, str)), None)
        return shape if described is None else Described(shape, described)
    if origin is Literal:
        return _choice(
            [(each.value, each) if isinstance(each, Enum) else (each, each) for each in arguments], place
        )
    if origin in (Union, types.UnionType):
        return Either([shape_of(each, place) for each in arguments])
    if origin in (list, abc.Sequence):
        return Items(shape_of(arguments[0], place), list)
    if origin is tuple and arguments[1:] == (...,):
        return Items(shape_of(arguments[0], place), tuple)
    if origin is tuple and arguments:
        return Row([shape_of(each, place) for each in arguments])
    if origin in (dict, abc.Mapping) and arguments[0] is str:
        return Table(shape_of(arguments[1], place))
    raise _untold(hint, place)


def _plain(hint: Any, place: str) -> Shape:
    if hint is None or hint is Any:
        return _PLAIN[hint]
    if isinstance(hint, typing.NewType):
        return shape_of(hint.__supertype__, place)
    if type(hint).__name__ == "TypeAliasType":  # that of Python 3.12, or of typing_extensions
        return shape_of(hint.__value__, place)
    if not isinstance(hint, type):
        raise _untold(hint, place)
    return _PLAIN[hint] if hint in _PLAIN else _of_class(hint, place)


def _of_class(cls: Any, place: str) -> Shape:
    if issubclass(cls, Enum):
        return _choice([(each.value, each) for each in cls], place)
    if (shape := _named(cls)) is None:
        raise _untold(cls, place)
    return shape


def _choice(pairs: list[tuple[Any, Any]], place: str) -> Shape:
    for told, meant in pairs:
        if type(told) not in (type(None), bool, int, float, str):
            raise _untold(meant, place)
    return Choice(pairs)


@lru_cache(_CLASSES_KEPT)
def _named(cls: Any) -> Record | Model | None:
    """The shape of a class: the same one each time, so that a class may be in its own fields."""
    if hasattr(cls, "model_json_schema") and hasattr(cls, "model_validate"):
        return Model(cls)
    if _is_typed_dict(cls):
        return Record(cls.__name__, _description(cls), lambda: _keys(cls), dict)
    if not hasattr(cls, "__dataclass_fields__"):
        return None
    return Record(cls.__name__, _description(cls), lambda: _fields(cls), lambda values: cls(**values))


def _fields(cls: Any) -> dict[str, Field]:
    hints = _hints(cls)
    for name, hint in hints.items():
        if isinstance(hint, dataclasses.InitVar):
            raise _untold(hint, f"{cls.__qualname__}.{name}")
    return {
        each.name: Field(
            shape_of(hints[each.name], f"{cls.__qualname__}.{each.name}"),
            each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING,
        )
        for each in dataclasses.fields(cls)
        if each.init
    }


def _is_typed_dict(cls: Any) -> bool:
    # Not `typing.is_typeddict`: there is that of typing_extensions too.
    return issubclass(cls, dict) and hasattr(cls, "__required_keys__")


def _keys(cls: Any) -> dict[str, Field]:
    return {name: _key(cls, name, hint) for name, hint in _hints(cls).items()}


def _key(cls: Any, name: str, hint: Any) -> Field:
    required = name in cls.__required_keys__
    if typing.get_origin(hint) in (Required, NotRequired):
        # Where annotations are texts, `__required_keys__` does not know of these.
        required = typing.get_origin(hint) is Required
        (hint,) = typing.get_args(hint)
    return Field(shape_of(hint, f"{cls.__qualname__}.{name}"), required)


def _hints(cls: Any) -> dict[str, Any]:
    """The hints of a class, evaluated: also of one that a function makes for itself, while that function runs."""
    maker, local, _ = cls.__qualname__.rpartition(".<locals>.")
    names = {cls.__name__: cls, **_locals_of(maker)} if local else None
    try:
        return typing.get_type_hints(cls, localns=names, include_extras=True)
    except (NameError, AttributeError, TypeError, SyntaxError) as error:
        where = "its module, or the function that makes it and still runs, must know them"
        raise TypeError(f"{cls.__qualname__}: annotations that mean nothing ({error}): {where}") from None


def _locals_of(function: str) -> Mapping[str, Any]:
    frame: types.FrameType | None = sys._getframe()
    while frame is not None and frame.f_code.co_qualname != function:
        frame = frame.f_back
    return {} if frame is None else frame.f_locals


def _description(cls: Any) -> str | None:
    """What a person has written about a class; a dataclass without has a text of its own making."""
    text: str | None = cls.__doc__
    return None if text is None or text.startswith(f"{cls.__name__}(") else inspect.cleandoc(text)


def _untold(hint: Any, place: str) -> TypeError:
    shown = hint.__qualname__ if isinstance(hint, type) else repr(hint)
    return TypeError(f"{place}: JSON Schema cannot tell {shown}; docs/answers-as-data.md lists what it can")
