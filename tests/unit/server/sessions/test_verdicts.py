"""What a schema says of a result, found out by a child with a limit on its time."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from clawdforge.server.sessions import judge
from clawdforge.server.sessions.verdicts import Verdict, check_schema, reach
from clawdforge.wire.problems import Problem

PERSON = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}


async def test_without_a_schema_there_is_nothing_to_refuse() -> None:
    await check_schema(None)


async def test_a_result_that_fits() -> None:
    assert (await reach({"age": 3}, PERSON)) == Verdict(True, [])


async def test_a_result_that_does_not_fit_is_told_where_and_why() -> None:
    verdict = await reach({"age": "three"}, PERSON)
    assert verdict.valid is False
    assert verdict.errors[0].startswith("/age: ")


async def test_text_is_judged_as_the_string_that_it_is() -> None:
    assert (await reach("words", {"type": "string"})).valid is True
    assert (await reach("words", PERSON)).valid is False


async def test_of_many_complaints_ten_are_told_and_each_is_short() -> None:
    verdict = await reach([f"{'x' * 1000}{number}" for number in range(50)], {"items": {"type": "integer"}})
    assert verdict.valid is False
    assert len(verdict.errors) == 10
    assert max(map(len, verdict.errors)) <= 300


async def test_what_is_complained_of_can_be_stored_and_sent() -> None:
    verdict = await reach({"a\0\n": 1}, {"additionalProperties": {"type": "string"}})
    assert verdict.errors == ['/a\\x00\\n: 1 is not of type "string"']


async def test_a_result_that_is_nested_too_deep_does_not_fit() -> None:
    deep: list[Any] = []
    for _ in range(400):
        deep = [deep]
    verdict = await reach(deep, {"type": "object"})
    assert verdict.valid is False
    assert verdict.errors == ["it cannot be judged: Recursion limit reached"]


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nonsense"},
        {"type": 7},
        {"required": "name"},
        {"pattern": "("},
        {"$ref": "https://localhost/none.json"},
        {"$ref": "#/nowhere"},
        {"properties": []},
    ],
    ids=str,
)
async def test_a_schema_that_is_none_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(Problem) as raised:
        await check_schema(schema)
    assert (raised.value.code, raised.value.extra["errors"][0]["loc"]) == ("invalid", ["schema"])


async def test_a_schema_may_refer_to_itself() -> None:
    tree = {"$defs": {"node": {"type": "array", "items": {"$ref": "#/$defs/node"}}}, "$ref": "#/$defs/node"}
    await check_schema(tree)
    assert (await reach([[], [[]]], tree)).valid is True
    assert (await reach([[1]], tree)).valid is False


async def test_a_pattern_made_to_run_away_does_not() -> None:
    verdict = await reach("a" * 50_000 + "!", {"type": "string", "pattern": "^(a+)+$"})
    assert verdict.valid is False


async def test_a_schema_that_asks_for_too_much_work_is_given_up_and_nobody_waits() -> None:
    # Every level doubles the work: more of it than there is time in the world.
    levels: dict[str, Any] = {
        f"d{level}": {"anyOf": [{"$ref": f"#/$defs/d{level + 1}"}] * 2} for level in range(60)
    }
    schema = {"$defs": {**levels, "d60": {"type": "string"}}, "$ref": "#/$defs/d0"}
    await check_schema(schema)
    verdict = await reach(1, schema)
    assert verdict.valid is False
    assert "too much work" in verdict.errors[0]


WIDE = {"anyOf": [{"type": "string"}] * 10_000}
TWISTED = {"anyOf": [{"pattern": f"(((a{{1,100}}){{1,100}}){{1,{times}}})"} for times in range(1, 9)]}


@pytest.mark.parametrize("schema", [WIDE, TWISTED], ids=["wide", "twisted"])
async def test_a_schema_that_may_take_long_is_not_read_by_the_gateway(
    schema: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_here(_: Any) -> None:
        raise AssertionError("all others wait for this")

    monkeypatch.setattr(judge, "validator", read_here)
    await check_schema(schema)
    with pytest.raises(Problem, match="no usable JSON Schema"):
        await check_schema({**schema, "type": "nonsense"})


async def test_a_judge_that_cannot_be_started_is_no_fault_of_the_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere")
    assert (await reach(1, {"type": "integer"})).errors == [
        "it could not be found out: the gateway has no process to spare for it"
    ]
