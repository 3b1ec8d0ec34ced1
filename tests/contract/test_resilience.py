"""docs/resilience.md: every line of its tables says all that it should, and names a test that there is."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COLUMNS = ["what the agent does", "what the caller gets", "what becomes of the session", "test"]


def rows() -> list[list[str]]:
    """The lines of all tables, cell by cell; the heads must be the ones that are known."""
    lines = (ROOT / "docs/resilience.md").read_text().splitlines()
    tables = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return [row for row in tables if row != COLUMNS and not all(set(cell) <= {"-"} for cell in row)]


@cache
def functions_of(name: str) -> set[str]:
    """The test functions of a file of tests."""
    tree = ast.parse((ROOT / "tests" / name).read_text())
    functions = (each for each in tree.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef))
    return {each.name for each in functions if each.name.startswith("test_")}


def test_there_are_lines() -> None:
    assert len(rows()) > 50


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_a_line_is_whole_and_its_test_exists(row: list[str]) -> None:
    assert len(row) == len(COLUMNS)
    assert all(row)
    file, _, function = row[-1].strip("`").partition("::")
    assert function in functions_of(file)
