"""SECURITY.md: each promise is held by tests that there are, and that try it at each level of which it tells."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LEVELS = ["bwrap, root", "bwrap, user", "landlock, root", "landlock, user", "none"]
TEST = re.compile(r"`([\w/]+\.py)::(test_\w+)`")
UNWALLED = {"EVERYWHERE", "AS_ROOT", "BY_ROOT"}
"""The marks of tests that also run without a wall."""


def table(first: list[str]) -> list[list[str]]:
    """The lines of the table that has this head, cell by cell."""
    lines = (ROOT / "SECURITY.md").read_text().splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    begin = cells.index(first) + 2
    end = next(at for at in range(begin, len(lines)) if not lines[at].startswith("|"))
    return cells[begin:end]


def promises() -> list[list[str]]:
    return table(["an agent cannot", *LEVELS, "tests"])


@cache
def functions_of(name: str) -> dict[str, ast.FunctionDef | ast.AsyncFunctionDef]:
    """The test functions of a file of tests."""
    tree = ast.parse((ROOT / "tests" / name).read_text())
    functions = (each for each in tree.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef))
    return {each.name: each for each in functions if each.name.startswith("test_")}


def named_in(cell: str) -> list[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """The file and the function of each test that a cell names."""
    return [(file, functions_of(file)[name]) for file, name in TEST.findall(cell)]


def test_there_are_promises() -> None:
    assert len(promises()) > 20
    assert len(table(["an agent cannot", "tests"])) >= 4


def test_every_test_that_is_named_exists() -> None:
    named = TEST.findall((ROOT / "SECURITY.md").read_text())
    assert [(file, name) for file, name in named if name not in functions_of(file)] == []


@pytest.mark.parametrize("row", promises(), ids=lambda row: row[0])
def test_a_promise_is_tried_at_each_level(row: list[str]) -> None:
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


@pytest.mark.parametrize("row", table(["an agent cannot", "tests"]), ids=lambda row: row[0])
def test_a_promise_for_all_levels_names_its_tests(row: list[str]) -> None:
    assert named_in(row[1])
