"""Answers as data: types as JSON Schema, and answers as instances of them."""

from __future__ import annotations

import copy
import dataclasses
import json
import subprocess
import sys
import typing
from collections.abc import Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from datetime import UTC, date, datetime, time
from enum import Enum, IntEnum
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Generic, Literal, NewType, NotRequired, Optional, Required, TypedDict, TypeVar
from uuid import UUID

import jsonschema_rs
import pydantic
import pytest
import typing_extensions
from hypothesis import given
from hypothesis import strategies as st

from clawdforge.client import _schema
from clawdforge.client._schema import json_schema


class Size(Enum):
    SMALL = "small"
    LARGE = 3
    NONE = None


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Palette(TypedDict):
    title: str
    notes: NotRequired[list[str]]


class Loose(Palette, total=False):
    rating: Required[float]
    by: Palette


Shade = NewType("Shade", int)


@dataclass(frozen=True)
class Colour:
    """One colour.

    As a painter mixes it.
    """

    name: Annotated[str, 17, "In English"]
    rgb: tuple[int, int, int] = (0, 0, 0)


@dataclass
class Everything:
    text: str
    number: float
    count: int
    flag: bool
    nothing: None
    word: Literal["a", 1, True, None, Level.HIGH]
    size: Size
    level: Level
    shade: Shade
    colours: list[Colour]
    row: tuple[str, ...]
    table: dict[str, Colour | None]
    maybe: Optional[int]  # noqa: UP045  # people write it
    palette: Loose
    at: datetime
    on: date
    when: time
    id: UUID
    path: Path
    anything: Any
    items: Sequence[int]
    more: Mapping[str, bool]
    inner: list[Everything] = field(default_factory=list)
    made: int = field(default=7, init=False)
    kept: typing.ClassVar[int] = 5


def as_json(value: Any) -> Any:
    """What an agent would say for a value."""
    if dataclasses.is_dataclass(value):
        fields = {each.name: getattr(value, each.name) for each in dataclasses.fields(value) if each.init}
        return {name: as_json(each) for name, each in fields.items()}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, UUID | Path):
        return str(value)
    if isinstance(value, list | tuple):
        return [as_json(each) for each in value]
    if isinstance(value, dict):
        return {name: as_json(each) for name, each in value.items()}
    return value


def accepts(spec: Any, data: Any) -> bool:
    schema = json_schema(spec)
    jsonschema_rs.meta.validate(schema)
    return jsonschema_rs.validator_for(schema).is_valid(data)


def complaint(spec: Any, data: Any) -> str:
    with pytest.raises(ValueError) as raised:
        _schema.value(spec, data)
    return str(raised.value)


texts = st.text(st.characters(codec="utf-8"), max_size=5)
integers = st.integers(-(2**53), 2**53)
colours = st.builds(Colour, texts, st.tuples(integers, integers, integers))
palettes = st.fixed_dictionaries({"title": texts}, optional={"notes": st.lists(texts, max_size=2)})
loose = st.fixed_dictionaries(
    {"title": texts, "rating": st.floats(allow_nan=False, allow_infinity=False)}, optional={"by": palettes}
)


def everything(inner: st.SearchStrategy[list[Everything]]) -> st.SearchStrategy[Everything]:
    return st.builds(
        Everything,
        text=texts,
        number=st.floats(allow_nan=False, allow_infinity=False) | st.integers(-5, 5).map(float),
        count=integers,
        flag=st.booleans(),
        nothing=st.none(),
        word=st.sampled_from(["a", 1, True, None, Level.HIGH]),
        size=st.sampled_from(Size),
        level=st.sampled_from(Level),
        shade=integers.map(Shade),
        colours=st.lists(colours, max_size=3),
        row=st.lists(texts, max_size=3).map(tuple),
        table=st.dictionaries(texts, st.none() | colours, max_size=2),
        maybe=st.none() | integers,
        palette=loose,
        at=st.datetimes(timezones=st.none() | st.just(UTC)),
        on=st.dates(),
        when=st.times(),
        id=st.uuids(),
        path=st.sampled_from([Path("a"), Path("/b/c"), Path(".")]),
        anything=st.none() | integers | st.lists(texts, max_size=1),
        items=st.lists(integers, max_size=2),
        more=st.dictionaries(texts, st.booleans(), max_size=2),
        inner=inner,
    )


instances = everything(st.lists(everything(st.just([])), max_size=2))


@given(instances)
def test_what_an_agent_says_for_an_instance_is_read_as_that_instance(instance: Everything) -> None:
    told = json.loads(json.dumps(as_json(instance)))
    assert accepts(Everything, told)
    read = _schema.value(Everything, told)
    assert read == instance
    assert type(read.number) is float


# What comes in place of a field, each of a type of its own: the judge and the reader must refuse the same.
WRONG: list[Any] = [None, True, 0.5, 3, "x", [], ["x"], [None, 1], {}, {"title": 5}]
NAMES = [each.name for each in dataclasses.fields(Everything) if each.init]


@given(everything(st.just([])), st.sampled_from(NAMES), st.sampled_from(WRONG), st.sampled_from(["set", "drop"]))
def test_what_the_judge_refuses_is_not_read_and_names_the_place(
    instance: Everything, name: str, wrong: Any, how: str
) -> None:
    told = as_json(instance)
    if how == "drop":
        del told[name]
    else:
        told[name] = wrong
    try:
        _schema.value(list[Everything], [told])
    except ValueError as error:
        assert str(error).startswith(f"[0].{name}")
        fits = False
    else:
        fits = True
    # The judge does not look at formats.
    formatted = {"at", "on", "when", "id"}
    assert fits is accepts(Everything, told) or (name in formatted and told.get(name) == "x")


def test_what_an_object_holds_besides_is_refused_by_the_judge_and_left_out_by_the_reader() -> None:
    assert not accepts(Colour, {"name": "red", "later": 1})
    assert _schema.value(Colour, {"name": "red", "later": 1}) == Colour("red")
    assert _schema.value(Palette, {"title": "a", "later": 1}) == {"title": "a"}


def test_a_schema_says_what_the_class_says() -> None:
    assert json_schema(Colour) == {
        "description": "One colour.\n\nAs a painter mixes it.",
        "type": "object",
        "properties": {
            "name": {"description": "In English", "type": "string"},
            "rgb": {
                "type": "array",
                "prefixItems": [{"type": "integer"}] * 3,
                "items": False,
                "minItems": 3,
                "maxItems": 3,
            },
        },
        "required": ["name"],
        "additionalProperties": False,
    }


def test_a_class_without_a_docstring_has_no_description() -> None:
    assert "description" not in json_schema(Everything)
    assert "description" not in json_schema(Palette)


def test_a_class_that_is_in_itself_refers_to_itself() -> None:
    assert json_schema(Everything)["properties"]["inner"] == {"type": "array", "items": {"$ref": "#"}}
    assert set(json_schema(Everything)["$defs"]) == {"Colour", "Loose", "Palette"}
    assert json_schema(list[Everything])["$defs"]["Everything"]["properties"]["inner"]["items"] == {
        "$ref": "#/$defs/Everything"
    }


def test_classes_of_one_name_are_told_apart() -> None:
    def another(kind: Any) -> Any:
        return dataclasses.make_dataclass("Größe", [("x", kind)])

    one, two = another(int), another(str)
    pair = tuple[one, two, one]  # type: ignore[valid-type]  # made at run time
    assert set(json_schema(pair)["$defs"]) == {"Größe", "Größe2"}
    assert accepts(pair, [{"x": 1}, {"x": "a"}, {"x": 2}])
    assert not accepts(pair, [{"x": 1}, {"x": 1}, {"x": 2}])
    assert _schema.value(pair, [{"x": 1}, {"x": "a"}, {"x": 2}]) == (one(1), two("a"), one(2))


@pytest.mark.parametrize(
    ("spec", "data", "value"),
    [
        (int, 3.0, 3),
        (float, 3, 3.0),
        (list, [1, "a"], [1, "a"]),
        (tuple, [1], (1,)),
        (dict, {"a": 1}, {"a": 1}),
        (Any, {"a": 1}, {"a": 1}),
        (object, 1, 1),
        (None, None, None),
        (int | str, "a", "a"),
        (list[int] | list[str], ["a"], ["a"]),
        (date | str, "2026-01-02", date(2026, 1, 2)),
        (str | date, "2026-01-02", "2026-01-02"),
        (Colour | Palette, {"title": "a"}, {"title": "a"}),
        (Literal[1], 1.0, 1),
        (Level, 2.0, Level.HIGH),
        (typing_extensions.TypeAliasType("Counts", list[int]), [1], [1]),
    ],
)
def test_other_types(spec: Any, data: Any, value: Any) -> None:
    assert accepts(spec, data)
    read = _schema.value(spec, data)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("spec", "data", "sentence"),
    [
        (str, 5, "the answer: a string is wanted, and an integer came"),
        (int, True, "the answer: an integer is wanted, and a boolean came"),
        (int, 0.5, "the answer: an integer is wanted, and a number came"),
        (int, float("inf"), "the answer: an integer is wanted, and a number came"),
        (float, 10**400, "the answer: this number is too large"),
        (list[int], {}, "the answer: an array is wanted, and an object came"),
        (tuple[int], None, "the answer: an array is wanted, and null came"),
        (tuple[int, int], [1], "the answer: 2 items are wanted, and 1 came"),
        (dict[str, int], [], "the answer: an object is wanted, and an array came"),
        (dict[str, list[int]], {"a": [1, "b"]}, "a[1]: an integer is wanted, and a string came"),
        (Colour, "red", "the answer: an object is wanted, and a string came"),
        (list[Colour], [{"name": "a"}, {"rgb": []}], "[1].name: it is missing"),
        (Level, True, "the answer: it is none of 1, 2"),
        (Literal["a", 1], 2, "the answer: it is none of 'a', 1"),
        (list[date], ["2026-01-02", "x"], "[1]: this is not a date of ISO 8601"),
        (UUID, 5, "the answer: a UUID is wanted, and an integer came"),
        (int | str, None, "the answer: an integer is wanted, and null came / a string is wanted, and null came"),
        (Palette | Colour | None, {"name": 5}, "title: it is missing"),
        (Palette | Colour, {"name": "a", "rgb": [1, "b", 2]}, "rgb[1]: an integer is wanted, and a string came"),
        (Palette | Colour, {"title": "a", "b": 1}, "name: it is missing"),
        (Palette | list[int], {"title": "a", "b": 1}, "b: there is no such field in Palette"),
        (str, object(), "the answer: a string is wanted, and something else came"),
    ],
)
def test_an_answer_that_does_not_fit_is_told_by_its_place(spec: Any, data: Any, sentence: str) -> None:
    assert complaint(spec, data) == sentence


class Shape(TypedDict):
    inside: Shape | Circle | None
    kind: Literal["square"]


class Circle(TypedDict):
    inside: Shape | Circle | None
    kind: Literal["circle"]


@pytest.mark.parametrize("last", ["circle", "triangle"])
def test_a_deep_union_is_read_in_one_go(last: str) -> None:
    # Each level tried anew for each type of the one above would be 2^100 attempts.
    data: Any = {"kind": last, "inside": None}
    for _ in range(100):
        data = {"inside": data, "kind": "circle"}
    if last == "circle":
        assert _schema.value(Shape | Circle, data) == data
    else:
        assert ".inside.kind: it is none of " in complaint(Shape | Circle, data)


def test_an_answer_may_not_be_deeper_than_can_be_read() -> None:
    data: Any = {}
    for _ in range(20_000):
        data = {"inner": [data]}
    assert complaint(Nest, data) == "the answer is nested too deep"


class Nest(TypedDict, total=False):
    inner: list[Nest]


@dataclass
class Even:
    number: int

    def __post_init__(self) -> None:
        if self.number % 2:
            raise ValueError("this is odd")


def test_what_a_class_itself_refuses_is_told_by_its_place_too() -> None:
    assert complaint(list[Even], [{"number": 2}, {"number": 3}]) == "[1]: this makes no Even: this is odd"


T = TypeVar("T")


class Box(Generic[T]):
    item: T


@dataclass
class Wrong:
    sets: set[int]


@dataclass
class Deeper:
    wrong: list[Wrong]


@dataclass
class Initial:
    a: InitVar[int]


class Wild(TypedDict):
    keys: dict[int, str]


class Odd(Enum):
    DAY = date(2026, 1, 2)


@dataclass
class Vague:
    choice: Literal[b"x"]  # type: ignore[valid-type]  # a user may write it
    unknown: int


@dataclass
class Nowhere:
    there: Atlantis  # type: ignore[name-defined]  # noqa: F821  # the point of the test


class Endless:
    """A type alias that stands for a list of itself: Python 3.12 has `type Endless = list[Endless]`."""

    def __init__(self) -> None:
        self.__class__.__name__ = "TypeAliasType"
        self.__value__ = list[self]  # type: ignore[valid-type]  # made at run time


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        (complex, "schema: JSON Schema cannot tell complex"),
        (Colour("a"), "schema: JSON Schema cannot tell Colour.name='a'"),
        ("Colour", "schema: JSON Schema cannot tell 'Colour'"),
        (tuple[()], "schema: JSON Schema cannot tell tuple"),
        (Box, "schema: JSON Schema cannot tell Box"),
        (Box[int], "schema: JSON Schema cannot tell .*Box"),
        (list[T], "schema: JSON Schema cannot tell ~T"),  # type: ignore[valid-type]  # the point of the test
        (Deeper, r"Wrong\.sets: JSON Schema cannot tell set\[int\]; docs/answers-as-data.md"),
        (Initial, r"Initial\.a: JSON Schema cannot tell .*InitVar"),
        (Wild, r"Wild\.keys: JSON Schema cannot tell dict\[int, str\]"),
        (Odd, "schema: JSON Schema cannot tell <Odd"),
        (Vague, r"Vague\.choice: JSON Schema cannot tell b'x'"),
        (Nowhere, "Nowhere: annotations that mean nothing .*'Atlantis'"),
        (Endless(), "schema: a type is in itself without a class between"),
        ({"type": object()}, "schema: this mapping is no JSON"),
        ({"maximum": float("nan")}, "schema: this mapping is no JSON"),
    ],
)
def test_what_cannot_be_told_is_a_type_error_that_names_the_field(spec: Any, sentence: str) -> None:
    with pytest.raises(TypeError, match=sentence):
        json_schema(spec)


def test_a_json_schema_is_copied_and_its_answer_is_as_it_came() -> None:
    spec = {"type": "object", "required": ("a",), "properties": {"a": {"type": "integer"}}}
    schema = json_schema(MappingProxyType(spec))
    assert schema == {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}}
    assert schema["properties"] is not spec["properties"]
    data = {"a": "no integer"}
    assert _schema.value(spec, data) is data


class Leaf(pydantic.BaseModel):
    """A leaf."""

    size: Annotated[int, pydantic.Field(gt=3)]
    leaves: list[Leaf] = []


@dataclass
class Tree:
    root: Leaf
    spare: Leaf | None = None


def test_a_pydantic_model_speaks_for_itself() -> None:
    data = {"size": 4, "leaves": [{"size": 5}]}
    assert json_schema(Leaf) == Leaf.model_json_schema()
    assert accepts(Leaf, data)
    assert _schema.value(Leaf, data) == Leaf(size=4, leaves=[Leaf(size=5)])
    assert complaint(Leaf, {"size": 4, "leaves": [{"size": 3}]}).startswith("leaves[0].size: Input should be")


def test_pydantic_models_may_be_in_other_types() -> None:
    data = {"root": {"size": 4, "leaves": [{"size": 5}]}, "spare": None}
    assert accepts(Tree, data)
    assert not accepts(Tree, {"root": {"size": 4, "leaves": [{"size": 3}]}})
    assert _schema.value(Tree, data) == Tree(Leaf(size=4, leaves=[Leaf(size=5)]))
    assert complaint(list[Tree], [{"root": {"size": 0}}]).startswith("[0].root.size: Input should be")


class Plain:
    """Speaks for itself, without pydantic."""

    def __init__(self, text: str) -> None:
        self.text = text

    @staticmethod
    def model_json_schema() -> dict[str, Any]:
        return {"type": "string"}

    @classmethod
    def model_validate(cls, data: Any) -> Plain:
        if not isinstance(data, str):
            raise ValueError("no text")
        return cls(data)


def test_whatever_has_pydantics_two_methods_speaks_for_itself() -> None:
    assert json_schema(Plain) == {"type": "string"}
    assert _schema.value(Plain, "a").text == "a"
    assert complaint(Plain, 5) == "the answer: this makes no Plain: no text"


def local_classes() -> tuple[Any, Any]:
    @dataclass
    class Shelf:
        books: list[Book]
        below: Shelf | None = None

    @dataclass
    class Book:
        title: str

    assert _schema.value(Shelf, {"books": [{"title": "a"}], "below": {"books": []}}) == Shelf(
        [Book("a")], Shelf([])
    )
    return Shelf, copy.copy(Book)


def test_classes_of_a_function_know_each_other() -> None:
    shelf, book = local_classes()
    assert json_schema(shelf)["properties"]["books"]["items"] == {"$ref": "#/$defs/Book"}
    assert json_schema(book)["required"] == ["title"]


def test_classes_of_a_function_that_is_over_know_themselves() -> None:
    def made(other: bool) -> Any:
        @dataclass
        class Link:
            next: Link | None

        @dataclass
        class Chain:
            first: Link

        return Chain if other else Link

    assert _schema.value(made(False), {"next": {"next": None}}).next.next is None
    with pytest.raises(TypeError, match=r"Chain: annotations that mean nothing .*'Link'"):
        json_schema(made(True))


def test_none_of_this_is_loaded_without_a_schema() -> None:
    statement = "import sys; from clawdforge import Forge; Forge(token='cf_x'); print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", statement], capture_output=True, text=True, check=True, timeout=60
    ).stdout.split()
    assert "clawdforge.client" in loaded
    assert not {"clawdforge.client._schema", "clawdforge.client._hints", "clawdforge.client._shapes"} & {*loaded}
