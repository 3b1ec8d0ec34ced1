"""Row values as table columns and back. A column has the name of its field, so no list of names can drift.

Objects and arrays lie in the tables as JSON text, truth values as 0 and 1. Text that no store can hold is
refused here.
"""

from __future__ import annotations

import dataclasses
import json
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

from clawdforge.server.store.base import StorageError
from clawdforge.server.store.stored import AppRow, AuditRow, KeyRow, SessionRow, TurnRow, UploadRow
from clawdforge.wire import codec

T = TypeVar("T")

# An escaped NUL, and not an escaped backslash before the five characters u0000.
_ESCAPED_NUL: Final = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")

_COLUMNS: Final[Mapping[type[Any], tuple[str, ...]]] = {
    cls: tuple(field.name for field in dataclasses.fields(cls))
    for cls in (AppRow, SessionRow, TurnRow, UploadRow, KeyRow, AuditRow)
}
_VALUES: Final[Mapping[type[Any], Callable[[Any], tuple[Any, ...]]]] = {
    cls: operator.attrgetter(*names) for cls, names in _COLUMNS.items()
}
_AS_THEY_ARE: Final = frozenset({int, float, bool, bytes, type(None)})
_READ: Final[Mapping[type[Any], Mapping[str, Callable[[Any], Any]]]] = {
    AppRow: {"ip_cidrs": lambda text: tuple(json.loads(text))},
    SessionRow: {"options": json.loads, "meta": json.loads, "forked_from": json.loads},
    TurnRow: {"ok": bool, "usage": json.loads, "extra": json.loads},
    KeyRow: {"answer": json.loads},
    AuditRow: {"ok": bool, "estimated": bool},
}


def columns(cls: type[Any]) -> tuple[str, ...]:
    """The columns of a kind of row, in the order of its fields."""
    return _COLUMNS[cls]


def values_of(row: Any) -> tuple[Any, ...]:
    """A row's values, in the order of `columns`; not yet `bound`."""
    return _VALUES[type(row)](row)


def bound(values: Iterable[Any]) -> tuple[list[Any], int]:
    """Values, ready to be bound, and how many characters of text they hold.

    Raises:
        StorageError: one of them cannot be stored.
    """
    ready = [*values]
    characters = 0
    for place, value in enumerate(ready):
        if type(value) not in _AS_THEY_ARE:
            ready[place] = text = to_text(value)
            characters += len(text)
    return ready, characters


def to_text(value: Any) -> str:
    """A text, an object or an array as the text that is stored.

    Raises:
        StorageError: it is a text with NUL or half a surrogate pair, or an object that is no JSON.
    """
    if not isinstance(value, str):
        return json_text(lambda: codec.text(value))
    if "\0" in value:
        raise StorageError("Text with a NUL character cannot be stored.")
    return _encodable(value)


def json_text(encode: Callable[[], str]) -> str:
    """The JSON text that `encode` makes.

    Raises:
        StorageError: it cannot be made, or a text in it holds NUL or half a surrogate pair.
    """
    try:
        text = encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise StorageError(f"The object cannot be stored as JSON: {error}.") from None
    if "\\u0000" in text and _ESCAPED_NUL.search(text):
        raise StorageError("Text with a NUL character cannot be stored.")
    return _encodable(text)


def from_values(cls: type[T], values: Sequence[Any]) -> T:
    """The row whose columns these are."""
    fields = dict(zip(columns(cls), values, strict=True))
    for name, read in _READ.get(cls, {}).items():
        if fields[name] is not None:
            fields[name] = read(fields[name])
    return cls(**fields)


def _encodable(text: str) -> str:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise StorageError("Text with half a surrogate pair cannot be stored.") from None
    return text
