"""What the table says of a bar, and which rows a name asks for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench.report import document, number, probes, table
from bench.rows import Bar, Findings, Reading

ROOT = Path(__file__).parents[3]
AT_MOST = Bar("a.most", "most", "ms", 2)
AT_LEAST = Bar("a.least", "least", "k/s", 60, at_least=True)


def verdict(bar: Bar, value: float) -> str:
    return table([bar], {bar.name: Reading(value, value, value)}).rpartition("\n")[2].split("|")[-2].strip()


@pytest.mark.parametrize(("bar", "value", "said"), [
    (AT_MOST, 1.99, "holds"), (AT_MOST, 2, "holds"), (AT_MOST, 2.01, "MISSED"),
    (AT_LEAST, 60, "holds"), (AT_LEAST, 59.9, "MISSED"), (AT_LEAST, 61, "holds"),
])  # fmt: skip
def test_a_verdict_follows_the_bar(bar: Bar, value: float, said: str) -> None:
    assert verdict(bar, value) == said


def test_a_row_shows_bar_value_and_spread() -> None:
    row = table([AT_LEAST], {"a.least": Reading(61.25, 58, 70)}).rpartition("\n")[2]
    assert row == "| `a.least` | least | ≥ 60 k/s | 61.2 k/s | 58 … 70 | holds |"


def test_a_bar_without_a_reading_says_why() -> None:
    future = Bar("a.future", "later", "ms", 1, built=False)
    assert "not built yet" in table([future], {})
    assert "not measured" in table([AT_MOST], {})


def test_numbers_have_three_digits_that_mean_something() -> None:
    assert [number(value) for value in (0.5274, 3.14159, 27.349, 182.7, 65_432.1, -19.96)] == [
        *("0.527", "3.14", "27.3", "183", "65 432", "-20"),
    ]


def test_probes_of_all_benches_stand_in_one_table() -> None:
    shown = probes([Findings({}, [("a", "1 ms")]), Findings({}), Findings({}, [("b", "2 ms")])])
    assert shown.splitlines()[2:] == ["| a | 1 ms |", "| b | 2 ms |"]


def test_the_document_holds_everything_and_says_how_much_of_the_machine_others_had() -> None:
    text = document("| the table |", "| the probes |", {"turn": 0.123, "open": 0.0}, "## The notes\n")
    for part in ("| the table |", "| the probes |", "turn 12%, open 0%", "cores", "## The notes"):
        assert part in text


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "bench", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)


def test_the_rows_can_be_listed_and_each_has_a_name_of_its_own() -> None:
    names = [line.split()[0] for line in run("--list").stdout.splitlines()]
    assert "turn.own" in names and len(names) == len(set(names))


def test_a_row_that_is_none_is_named() -> None:
    done = run("turn.own", "turn.owm")
    assert done.returncode == 2 and "no such row: turn.owm" in done.stderr
