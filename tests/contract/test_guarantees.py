"""docs/guarantees.md: each promise is one sentence, and the tests that it names are those that are marked."""

from __future__ import annotations

import ast

import pytest

from harness import documents

DOCUMENT = "docs/guarantees.md"
PROMISES = documents.rows(DOCUMENT, ["promise", "tests"])
MARK = "pytest.mark.guarantee"


def marked() -> set[tuple[str, str]]:
    """The tests that bear the mark: file and function."""
    folder = documents.ROOT / "tests"
    files = [path.relative_to(folder).as_posix() for path in folder.rglob("test_*.py")]
    return {
        (file, name)
        for file in files
        for name, function in documents.functions_of(file).items()
        if MARK in {ast.unparse(each) for each in function.decorator_list}
    }


def test_all_tables_are_lists_of_promises() -> None:
    assert {table.head for table in documents.tables(DOCUMENT)} == {("promise", "tests")}
    assert len(PROMISES) > 40


@pytest.mark.parametrize("row", PROMISES, ids=lambda row: row[0])
def test_a_promise_is_one_sentence_and_held_by_tests_that_there_are(row: tuple[str, ...]) -> None:
    promise, tests = row
    assert promise.endswith(".")
    assert ". " not in promise
    assert documents.named(tests)
    assert documents.missing(tests) == []


def test_the_tests_that_hold_a_promise_are_those_that_are_marked() -> None:
    named = set(documents.named((documents.ROOT / DOCUMENT).read_text()))
    assert named - marked() == set(), f"named in {DOCUMENT}, and not marked with {MARK}"
    assert marked() - named == set(), f"marked with {MARK}, and not named in {DOCUMENT}"
