"""Shapes: what a type is in JSON. Each tells itself as a JSON Schema, and reads an answer's JSON as a value.

Knows no type hints: `_hints` makes shapes of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

_WORDS: Final = {
    type(None): "null",
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    str: "a string",
    list: "an array",
    dict: "an object",
}
_SCHEMAS: Final = {type(None): "null", bool: "boolean", int: "integer", float: "number", str: "string"}


class Misfit(ValueError):
    """An answer is not what its type says, at this place."""

    def __init__(self, place: str, sentence: str) -> None:
        super().__init__(place, sentence)
        self.place = place
        self.sentence = sentence

    def __str__(self) -> str:
        return f"{self.place or 'the answer'}: {self.sentence}"


@dataclass(frozen=True, slots=True)
class At:
    """Where in an answer a reader is.

    Attributes:
        place: `colours[2].name`; "" at the top.
        exact: an object must hold nothing but what its type names.
        seen: what the unions have made of arrays and objects so far: each is read once for each union, however
            these are nested.
    """

    place: str = ""
    exact: bool = False
    seen: dict[tuple[int, int], Any] = field(default_factory=dict)

    def key(self, name: str) -> At:
        return At(f"{self.place}.{name}" if self.place else name, self.exact, self.seen)

    def item(self, index: int) -> At:
        return At(f"{self.place}[{index}]", self.exact, self.seen)

    def exactly(self) -> At:
        return At(self.place, True, self.seen)

    def misfit(self, sentence: str) -> Misfit:
        return Misfit(self.place, sentence)

    def unlike(self, wanted: str, data: Any) -> Misfit:
        return self.misfit(f"{wanted} is wanted, and {_WORDS.get(type(data), 'something else')} came")


class Names(Protocol):
    """The parts of a schema that are referred to by their names."""

    def reference(self, shape: Any) -> dict[str, Any]:
        """A schema that refers to that of a shape with a name, which is put among the parts."""


class Shape(Protocol):
    def schema(self, names: Names) -> dict[str, Any]:
        """It as a JSON Schema; what has a name of its own is put among `names`."""

    def read(self, data: Any, at: At) -> Any:
        """An answer's JSON as a value of the type.

        Raises:
            Misfit: it is none.
        """


class Anything:
    """Any JSON value, as it came."""

    def schema(self, _names: Names) -> dict[str, Any]:
        return {}

    def read(self, data: Any, _at: At) -> Any:
        return data


@dataclass(frozen=True, slots=True)
class Scalar:
    """null, a boolean, a number or a string. JSON has one type of number: 3.0 is an integer, 3 is a number."""

    cls: type

    def schema(self, _names: Names) -> dict[str, Any]:
        return {"type": _SCHEMAS[self.cls]}

    def read(self, data: Any, at: At) -> Any:
        if type(data) is self.cls:
            return data
        if self.cls is int and isinstance(data, float) and data.is_integer():
            return int(data)
        if self.cls is float and type(data) is int:
            try:
                return float(data)
            except OverflowError:
                raise at.misfit("this number is too large") from None
        raise at.unlike(_WORDS[self.cls], data)


@dataclass(frozen=True, slots=True)
class Text:
    """What JSON tells as a string: a date, a path, … `parse` reads it, and raises ValueError where it cannot."""

    wanted: str
    parse: Callable[[str], Any]
    format: str | None = None

    def schema(self, _names: Names) -> dict[str, Any]:
        return {"type": "string", "format": self.format} if self.format else {"type": "string"}

    def read(self, data: Any, at: At) -> Any:
        if not isinstance(data, str):
            raise at.unlike(self.wanted, data)
        try:
            return self.parse(data)
        except ValueError:
            raise at.misfit(f"this is not {self.wanted}") from None


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some values: pairs of what JSON says and what it is here."""

    pairs: Sequence[tuple[Any, Any]]

    def schema(self, _names: Names) -> dict[str, Any]:
        return {"enum": [told for told, _ in self.pairs]}

    def read(self, data: Any, at: At) -> Any:
        for told, meant in self.pairs:
            # True is 1 to Python, and not to JSON.
            if told == data and isinstance(told, bool) is isinstance(data, bool):
                return meant
        raise at.misfit(f"it is none of {', '.join(repr(told) for told, _ in self.pairs)}")


@dataclass(frozen=True, slots=True)
class Items:
    """An array of one type of items."""

    item: Shape
    make: Callable[[list[Any]], Any]

    def schema(self, names: Names) -> dict[str, Any]:
        return {"type": "array", "items": self.item.schema(names)}

    def read(self, data: Any, at: At) -> Any:
        if not isinstance(data, list):
            raise at.unlike("an array", data)
        return self.make([self.item.read(each, at.item(index)) for index, each in enumerate(data)])


@dataclass(frozen=True, slots=True)
class Row:
    """An array of so many items, each of its own type: a tuple."""

    items: Sequence[Shape]

    def schema(self, names: Names) -> dict[str, Any]:
        items = [each.schema(names) for each in self.items]
        size = len(items)
        return {"type": "array", "prefixItems": items, "items": False, "minItems": size, "maxItems": size}

    def read(self, data: Any, at: At) -> Any:
        if not isinstance(data, list):
            raise at.unlike("an array", data)
        if len(data) != len(self.items):
            raise at.misfit(f"{len(self.items)} items are wanted, and {len(data)} came")
        return tuple(
            shape.read(each, at.item(index))
            for index, (shape, each) in enumerate(zip(self.items, data, strict=True))
        )


@dataclass(frozen=True, slots=True)
class Table:
    """An object with any keys, and values of one type."""

    item: Shape

    def schema(self, names: Names) -> dict[str, Any]:
        return {"type": "object", "additionalProperties": self.item.schema(names)}

    def read(self, data: Any, at: At) -> Any:
        if not isinstance(data, dict):
            raise at.unlike("an object", data)
        return {name: self.item.read(each, at.key(name)) for name, each in data.items()}


@dataclass(frozen=True, slots=True)
class Either:
    """A union: what came is of the first of its types that it fits, exactly where that is an object."""

    arms: Sequence[Shape]

    def schema(self, names: Names) -> dict[str, Any]:
        return {"anyOf": [arm.schema(names) for arm in self.arms]}

    def read(self, data: Any, at: At) -> Any:
        if not isinstance(data, list | dict):
            return self._read(data, at)
        key = (id(self), id(data))
        if key not in at.seen:
            try:
                at.seen[key] = self._read(data, at)
            except Misfit as error:
                at.seen[key] = error
        if isinstance(at.seen[key], Misfit):
            raise at.seen[key]
        return at.seen[key]

    def _read(self, data: Any, at: At) -> Any:
        # null tells nothing apart: an optional object is read as any other.
        arms = [arm for arm in self.arms if data is None or arm != Scalar(type(None))]
        if len(arms) == 1:
            return arms[0].read(data, at)
        misfits = []
        for arm in arms:
            try:
                return arm.read(data, at.exactly())
            except Misfit as error:
                misfits.append(error)
        furthest = max(misfits, key=lambda misfit: len(misfit.place))
        if furthest.place != at.place:
            raise furthest
        raise at.misfit(" / ".join(misfit.sentence for misfit in misfits))


@dataclass(frozen=True, slots=True)
class Described:
    """A shape with a word about it."""

    shape: Shape
    description: str

    def schema(self, names: Names) -> dict[str, Any]:
        return {"description": self.description, **self.shape.schema(names)}

    def read(self, data: Any, at: At) -> Any:
        return self.shape.read(data, at)
