"""What a run of the benchmark came to, as text for people: a table, the machine, the versions, the command."""

from __future__ import annotations

import os
import platform
import sqlite3
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

LIBRARIES = ("clawdforge", "uvicorn", "httptools", "fastapi", "pydantic", "requests")


@dataclass(frozen=True, slots=True)
class Row:
    """One number beside its bar. `low` and `high` are the spread within the run, in the same unit."""

    what: str
    unit: str
    bar: float
    value: float
    low: float
    high: float

    @property
    def holds(self) -> bool:
        return self.value <= self.bar


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    lines = ["| what | bar | measured | spread | |", "|---|---|---|---|---|"]
    lines += [
        f"| {row.what} | ≤ {row.bar:g} {row.unit} | {row.value:.2f} {row.unit} | {row.low:.2f} … {row.high:.2f} "
        f"| {'holds' if row.holds else 'MISSED'} |"
        for row in rows
    ]
    return "\n".join(lines)


def document(rows: Sequence[Row], probes: str, notes: str) -> str:
    """The whole of RESULTS.md."""
    return f"""# Results

Written by `make bench`. Every number is a ratio or a difference within one run; the probes that a row is measured
against ran in turns with it. The spread is that of five parts of the run.

{table(rows)}

## Probes

{probes}

## Where and with what

{_machine()}

{notes.strip()}
"""


def _machine() -> str:
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return "\n".join(
        (
            f"- {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores ({_cpu()}), {memory_gib:.0f} GiB, "
            f"{platform.system()} {platform.release().split('-')[0]}",
            f"- Python {sys.version.split()[0]}, SQLite {sqlite3.sqlite_version}, {versions}",
        )
    )


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
