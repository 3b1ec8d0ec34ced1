"""Documents that tests hold to their word: their tables, and the tests that they name."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"`([\w/]+\.py)::(test_\w+)`")
"""A test as documents name it: its file below `tests`, and its function."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Table:
    """One table of a document, cell by cell."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@cache
def tables(document: str) -> tuple[Table, ...]:
    """The tables of a document of this repository, in their order."""
    found: list[Table] = []
    block: list[tuple[str, ...]] = []
    for line in [*(ROOT / document).read_text().splitlines(), ""]:
        if line.startswith("|"):
            cells = re.split(r"(?<!\\)\|", line)[1:-1]
            block.append(tuple(cell.strip() for cell in cells))
        elif block:
            found.append(Table(block[0], tuple(block[2:])))
            block = []
    return tuple(found)


def rows(document: str, head: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """The rows of all tables of a document that have this head; there is one at least."""
    wanted = [table.rows for table in tables(document) if table.head == tuple(head)]
    assert wanted, f"{document} has no table with the head {head}"
    return tuple(row for each in wanted for row in each)


def named(text: str) -> list[tuple[str, str]]:
    """The tests that a text names: file and function."""
    return NAMED.findall(text)


@cache
def functions_of(file: str) -> dict[str, Function]:
    """The test functions of a file of tests; none where there is no such file."""
    path = ROOT / "tests" / file
    if not path.is_file():
        return {}
    functions = (each for each in ast.parse(path.read_text()).body if isinstance(each, Function))
    return {each.name: each for each in functions if each.name.startswith("test_")}


def missing(text: str) -> list[tuple[str, str]]:
    """Those of the tests that a text names which there are not."""
    return [(file, name) for file, name in named(text) if name not in functions_of(file)]
