"""`make bench`: measures every row, shows the table, and writes RESULTS.md."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))

from bench import footprint, report, turns  # noqa: E402 - the harness of the tests had to be found first

NOTES = HERE / "NOTES.md"


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="clawdforge-bench-") as folder:
        root = Path(folder)
        for name in ("turns", "footprint"):
            (root / name).mkdir()
        rows, probes = turns.measure(root / "turns")
        rows += footprint.measure(root / "footprint")
    print(report.table(rows))
    (HERE / "RESULTS.md").write_text(report.document(rows, probes, NOTES.read_text()))


if __name__ == "__main__":
    main()
