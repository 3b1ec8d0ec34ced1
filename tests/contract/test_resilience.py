"""docs/resilience.md: every line of its tables says all that it should, and names a test that there is."""

from __future__ import annotations

import pytest

from harness import documents

DOCUMENT = "docs/resilience.md"
COLUMNS = ("what the caller gets", "what becomes of the session", "test")
AGENTS, OTHERS = ("what the agent does", *COLUMNS), ("what happens", *COLUMNS)


def rows() -> list[tuple[str, ...]]:
    """The lines of all its tables."""
    return [row for table in documents.tables(DOCUMENT) for row in table.rows]


def test_there_are_lines_under_heads_that_are_known() -> None:
    assert len(rows()) > 50
    assert {table.head for table in documents.tables(DOCUMENT)} == {AGENTS, OTHERS}


@pytest.mark.guarantee
@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_a_line_is_whole_and_its_test_exists(row: tuple[str, ...]) -> None:
    assert len(row) == len(AGENTS)
    assert all(row)
    assert documents.named(row[-1])
    assert documents.missing(row[-1]) == []
