"""What a run of the benchmark came to, as text for people: a table, the probes, the machine, the versions."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version

from bench import machine
from bench.rows import Bar, Findings, Reading

LIBRARIES = ("clawdforge", "uvicorn", "httptools", "fastapi", "pydantic", "requests")


def table(bars: Sequence[Bar], readings: Mapping[str, Reading]) -> str:
    """The rows as a Markdown table; a bar without a reading says why there is none."""
    lines = ["| row | what | bar | measured | spread | |", "|---|---|---|---|---|---|"]
    for bar in bars:
        promise = f"{'≥' if bar.at_least else '≤'} {number(bar.limit)} {bar.unit}"
        lines.append(f"| `{bar.name}` | {bar.what} | {promise} | {_found(bar, readings.get(bar.name))} |")
    return "\n".join(lines)


def probes(findings: Sequence[Findings]) -> str:
    """What ran beside, as a Markdown table."""
    lines = ["| what ran beside | came to |", "|---|---|"]
    lines += [f"| {what} | {came_to} |" for found in findings for what, came_to in found.probes]
    return "\n".join(lines)


def document(table: str, probes: str, others: Mapping[str, float], notes: str) -> str:
    """The whole of RESULTS.md. `others` is what others had of the machine during each bench, from 0 to 1."""
    return f"""# Results

Written by `make bench`. The numbers are ratios and differences within one run: what a row is measured
against ran in turns with it. The spread is that of the run's parts.

{table}

## Probes

{probes}

## Where and with what

{_machine(others)}

{notes.strip()}
"""


def number(value: float) -> str:
    """Three digits that mean something, and no more."""
    if abs(value) >= 1000:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _found(bar: Bar, reading: Reading | None) -> str:
    if reading is None:
        return "– | – | not measured" if bar.built else "– | – | not built yet"
    verdict = "holds" if bar.holds(reading.value) else "MISSED"
    return f"{number(reading.value)} {bar.unit} | {number(reading.low)} … {number(reading.high)} | {verdict}"


def _machine(others: Mapping[str, float]) -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    shares = ", ".join(f"{name} {share:.0%}" for name, share in others.items())
    return "\n".join(
        (
            f"- {datetime.now(UTC):%Y-%m-%d}, {machine.described()}",
            f"- Python {sys.version.split()[0]}, SQLite {sqlite3.sqlite_version}, {versions}",
            f"- what others had of its cores meanwhile: {shares}",
        )
    )
