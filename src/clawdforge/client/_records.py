"""Shapes that have a name: dataclasses, TypedDicts, and classes that speak for themselves.

In a schema each stands once, and is referred to; so may it be within itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple
from urllib.parse import quote

from clawdforge.client._shapes import At, Names, Shape


class Field(NamedTuple):
    shape: Shape
    required: bool


class Record:
    """An object whose fields are known: a dataclass, a TypedDict.

    Args:
        fields: works the fields out; asked once, and only when the record is there, which may refer to itself.
        make: the value of what the fields hold; it may raise ValueError or TypeError.
    """

    def __init__(
        self,
        name: str,
        description: str | None,
        fields: Callable[[], Mapping[str, Field]],
        make: Callable[[dict[str, Any]], Any],
    ) -> None:
        self.name = name
        self._description = description
        self._work_out = fields
        self._make = make

    @cached_property
    def fields(self) -> Mapping[str, Field]:
        return self._work_out()

    def schema(self, names: Names) -> dict[str, Any]:
        return names.reference(self)

    def body(self, names: Names, _where: str) -> dict[str, Any]:
        return {
            **({"description": self._description} if self._description else {}),
            "type": "object",
            "properties": {name: each.shape.schema(names) for name, each in self.fields.items()},
            "required": [name for name, each in self.fields.items() if each.required],
            "additionalProperties": False,
        }

    def read(self, data: Any, at: At) -> Any:
        if not isinstance(data, dict):
            raise at.unlike("an object", data)
        for name, each in self.fields.items():
            if each.required and name not in data:
                raise at.key(name).misfit("it is missing")
        if at.exact and (besides := data.keys() - self.fields.keys()):
            raise at.key(min(besides)).misfit(f"there is no such field in {self.name}")
        values = {
            name: each.shape.read(data[name], at.key(name)) for name, each in self.fields.items() if name in data
        }
        try:
            return self._make(values)
        except (ValueError, TypeError) as error:
            raise at.misfit(f"this makes no {self.name}: {error}") from error


@dataclass(frozen=True, slots=True)
class Model:
    """A class that speaks for itself, as those of pydantic do."""

    cls: Any

    @property
    def name(self) -> str:
        return str(self.cls.__name__)

    def schema(self, names: Names) -> dict[str, Any]:
        return names.reference(self)

    def body(self, _names: Names, where: str) -> dict[str, Any]:
        if where == "#":
            return dict(self.cls.model_json_schema())
        return dict(self.cls.model_json_schema(ref_template=f"{where}/$defs/{{model}}"))

    def read(self, data: Any, at: At) -> Any:
        try:
            return self.cls.model_validate(data)
        except ValueError as error:
            said = error.errors() if hasattr(error, "errors") else []
            for step in said[0]["loc"] if said else ():
                at = at.item(step) if isinstance(step, int) else at.key(step)
            raise at.misfit(said[0]["msg"] if said else f"this makes no {self.name}: {error}") from error


class Parts:
    """The parts of one schema, by their names. What is the schema itself is referred to as that: `#`."""

    def __init__(self) -> None:
        self._defs: dict[str, Any] = {}
        self._places: dict[Any, str] = {}

    def schema(self, root: Shape) -> dict[str, Any]:
        """The schema of a shape, with all parts that it refers to; to be asked for once."""
        if isinstance(root, Record | Model):
            self._places[root] = "#"
            schema = root.body(self, "#")
        else:
            schema = root.schema(self)
        return {**schema, "$defs": self._defs} if self._defs else schema

    def reference(self, shape: Record | Model) -> dict[str, Any]:
        place = self._places.get(shape)
        if place is None:
            name, number = shape.name, 1
            while name in self._defs:
                number += 1
                name = f"{shape.name}{number}"
            place = self._places[shape] = f"#/$defs/{quote(name)}"
            self._defs[name] = {}
            self._defs[name] = shape.body(self, place)
        return {"$ref": place}
