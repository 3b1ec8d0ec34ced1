"""SECURITY.md: each promise is held by tests that there are, and that try it at each level of which it tells."""

from __future__ import annotations

import ast

import pytest

from harness import documents
from harness.documents import Function

DOCUMENT = "SECURITY.md"
LEVELS = ["bwrap, root", "bwrap, user", "landlock, root", "landlock, user", "none"]
UNWALLED = {"EVERYWHERE", "AS_ROOT", "BY_ROOT"}
"""The marks of tests that also run without a wall."""

PROMISES = documents.rows(DOCUMENT, ["an agent cannot", *LEVELS, "tests"])
PROMISES_FOR_ALL_LEVELS = documents.rows(DOCUMENT, ["an agent cannot", "tests"])


def named_in(cell: str) -> list[tuple[str, Function]]:
    """The file and the function of each test that a cell names."""
    return [(file, documents.functions_of(file)[name]) for file, name in documents.named(cell)]


def test_there_are_promises() -> None:
    assert len(PROMISES) > 20
    assert len(PROMISES_FOR_ALL_LEVELS) >= 4


def test_every_test_that_is_named_exists() -> None:
    assert documents.missing((documents.ROOT / DOCUMENT).read_text()) == []


@pytest.mark.guarantee
@pytest.mark.parametrize("row", PROMISES, ids=lambda row: row[0])
def test_a_promise_is_tried_at_each_level(row: tuple[str, ...]) -> None:
    """Every level of walls by the fixture that a test takes; no wall, and leaks, as the test itself says."""
    _, *cells, named = row
    tests = named_in(named)
    assert tests
    walls, none = cells[:-1], cells[-1]
    assert {cell.split()[0] for cell in cells} <= {"yes", "no"}
    assert none.startswith("no")
    for file, function in tests:
        takes = {argument.arg for argument in function.args.args}
        marks = {ast.unparse(each) for each in function.decorator_list}
        assert takes & {"stand", "site"}, "it runs at every wall"
        assert file == "e2e/test_intruders.py" or marks & UNWALLED, "it runs without one too"
        leaking = {level for level, cell in zip(LEVELS, walls, strict=False) if cell.startswith("no")}
        assert ("leaks_at=['landlock']" in ast.unparse(function)) == bool(leaking)
        assert leaking <= {"landlock, root", "landlock, user"}


@pytest.mark.guarantee
@pytest.mark.parametrize("row", PROMISES_FOR_ALL_LEVELS, ids=lambda row: row[0])
def test_a_promise_for_all_levels_names_its_tests(row: tuple[str, ...]) -> None:
    assert named_in(row[1])
