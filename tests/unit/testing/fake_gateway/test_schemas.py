"""A fake gateway says of an answer what the gateway's own judge says, for the keywords of data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import jsonschema_rs
import pytest
from pydantic import BaseModel, Field

from clawdforge import Forge
from clawdforge.client._schema import json_schema
from clawdforge.testing import FakeGateway, Prompt
from clawdforge.testing.fake_gateway import schemas

PLAIN: list[Any] = [
    {"type": "string"},
    {"type": ["integer", "null"]},
    {"type": "number", "minimum": 1, "exclusiveMaximum": 3},
    {"type": "string", "minLength": 1, "maxLength": 2},
    {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 2},
    {"prefixItems": [{"type": "string"}, {"type": "integer"}], "items": False},
    {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False},
    {"type": "object", "additionalProperties": {"type": "string"}},
    {"enum": ["a", 1, None]},
    {"const": True},
    {"anyOf": [{"type": "string"}, {"type": "integer", "exclusiveMinimum": 1}]},
    {"allOf": [{"type": "object"}, {"required": ["a"]}]},
    {
        "$ref": "#/$defs/node",
        "$defs": {"node": {"properties": {"next": {"$ref": "#/$defs/node"}}, "type": "object"}},
    },
    {"not a keyword": 1},
    True,
    {"properties": {"a": False}},
]
VALUES: list[Any] = [
    *("", "a", "abc", 0, 1, 1.0, 1.5, 3, -2, True, False, None),
    *([], [1], ["a"], ["a", 2], ["a", 2, 3], [1, 2, 3], [True]),
    *({}, {"a": 1}, {"a": "x"}, {"a": 1, "b": 2}, {"next": {}}, {"next": {"next": 3}}, {"b": "x"}),
]


@dataclass
class Size:
    width: int


class Shape(BaseModel):
    kind: Literal["round", "flat"]
    sizes: list[Size] = Field(max_length=1)
    inner: Shape | None = None


@dataclass
class Box:
    name: str
    sizes: list[Size] = field(default_factory=list)
    rank: int | None = None


@pytest.mark.parametrize("schema", PLAIN, ids=str)
def test_a_value_fits_as_it_fits_the_judge(schema: Any) -> None:
    judge = jsonschema_rs.validator_for(schema)
    for value in VALUES:
        found = schemas.errors(schema, value)
        assert (not found) is judge.is_valid(value), f"{value!r}: {found}"


@pytest.mark.parametrize(
    "value",
    [
        {"kind": "round", "sizes": [{"width": 1}]},
        {"kind": "square", "sizes": []},
        {"kind": "flat", "sizes": [{"width": "1"}]},
        {"kind": "flat", "sizes": [{"width": 1}, {"width": 2}]},
        {"kind": "flat", "sizes": [], "inner": {"kind": "round", "sizes": []}},
        {"kind": "flat", "sizes": [], "inner": {"kind": "round"}},
        {"name": "a"},
        "no json",
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", [Shape, Box], ids=["pydantic", "dataclass"])
def test_types_of_an_app_are_judged_alike(kind: type[Any], value: Any) -> None:
    schema = json_schema(kind)
    found = schemas.errors(schema, value)
    assert (not found) is jsonschema_rs.validator_for(schema).is_valid(value), found


def test_an_elsewhere_lets_all_pass() -> None:
    for ref in ("https://example.com/a", "#/$defs/none", "#/type/of"):
        assert schemas.errors({"$ref": ref}, 1) == []


def test_errors_name_their_place() -> None:
    schema = {"properties": {"a": {"items": {"type": "string"}}}}
    assert schemas.errors(schema, {"a": ["x", 2]}) == ["/a/1: 2 is not of type string"]


def test_a_test_says_what_is_wrong(gateway: FakeGateway) -> None:
    with Forge(base_url=gateway.url, token=gateway.token) as forge:
        gateway.answers({"a": 1}, schema_errors=["too short"])
        result = forge.run("x", schema={"type": "object"})
        assert (result.schema_valid, result.schema_errors) == (False, ["too short"])


def test_a_result_that_does_not_fit_is_asked_for_once_more(gateway: FakeGateway) -> None:
    with Forge(base_url=gateway.url, token=gateway.token) as forge, forge.session() as session:
        gateway.answers("It is red.", repair={"colour": "red"})
        turn = session.turn("which?", schema={"type": "object"})
        assert (turn.schema_valid, turn.schema_repaired, turn.result) == (True, True, {"colour": "red"})
        assert [each["type"] for each in turn.events] == ["text", "schema_repair", "text"]
        gateway.answers("It is red.")
        turn = session.turn("which?", schema={"type": "object"})
        assert (turn.schema_valid, turn.schema_repaired, turn.result) == (False, True, "It is red.")
        assert [each.errors for each in gateway.prompts] == [(), ()]


def test_a_function_is_told_what_was_wrong(gateway: FakeGateway) -> None:
    heard: list[tuple[str, ...]] = []

    @gateway.on_prompt
    def slow_to_learn(prompt: Prompt) -> Any:
        heard.append(prompt.errors)
        return 1 if prompt.errors else "one"

    with Forge(base_url=gateway.url, token=gateway.token) as forge:
        assert forge.run("how many?", schema={"type": "integer"}).result == 1
    assert heard == [(), ("/: 'one' is not of type integer",)]


def test_an_answer_without_a_word_is_not_asked_for_again(gateway: FakeGateway) -> None:
    with Forge(base_url=gateway.url, token=gateway.token) as forge:
        gateway.answers(repair=1)
        result = forge.run("how many?", schema={"type": "integer"})
        assert (result.ok, result.schema_valid, result.schema_repaired) == (False, False, None)
