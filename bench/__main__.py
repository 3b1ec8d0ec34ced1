"""`python -m bench [ROW…]`: measures rows, by their names or their benches', and shows them as a table.

All of them, in full length, are what `make bench` asks for: then RESULTS.md is written.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))

from bench import (  # noqa: E402 - the harness of the tests had to be found first
    asking,
    ending,
    footprint,
    looking,
    machine,
    model_way,
    neighbours,
    opening,
    replaying,
    report,
    sizes,
    streams,
    turns,
    waking,
    walled,
)
from bench.rows import Bar, Bench, Findings, Stage  # noqa: E402

BENCHES = (
    turns.BENCH,
    asking.BENCH,
    looking.BENCH,
    streams.BENCH,
    replaying.BENCH,
    opening.BENCH,
    *neighbours.BENCHES,
    walled.BENCH,
    waking.BENCH,
    model_way.BENCH,
    ending.BENCH,
    sizes.BENCH,
    footprint.BENCH,
)


def main() -> None:
    options = _options()
    if options.list:
        print("\n".join(f"{bar.name:24} {bar.what}" for bench in BENCHES for bar in bench.bars))
        return
    bars: list[Bar] = []
    findings: list[Findings] = []
    others: dict[str, float] = {}
    for bench in BENCHES:
        if asked := chosen(bench, options.rows):
            bars += asked
            findings.append(_measured(bench, others, quick=options.quick))
    readings = {name: reading for found in findings for name, reading in found.readings.items()}
    table, probes = report.table(bars, readings), report.probes(findings)
    print(f"{table}\n\n{probes}")
    if not options.rows and not options.quick:
        notes = (HERE / "NOTES.md").read_text()
        (HERE / "RESULTS.md").write_text(report.document(table, probes, others, notes))


def chosen(bench: Bench, names: Sequence[str]) -> list[Bar]:
    """The bars that are asked for, by their own names or the bench's; all of them where none is named."""
    return [bar for bar in bench.bars if not names or bar.name in names or bench.name in names]


def _measured(bench: Bench, others: dict[str, float], *, quick: bool) -> Findings:
    """What a bench finds; notes how much of the machine others had meanwhile."""
    name = bench.bars[0].name if len(bench.bars) == 1 else bench.name
    started, watch = time.monotonic(), machine.Others()
    with tempfile.TemporaryDirectory(prefix=f"clawdforge-bench-{bench.name}-") as folder:
        Path(folder).chmod(0o711)
        found = bench.measure(Stage(Path(folder), quick))
    others[name] = watch.share()
    print(
        f"{name}: {time.monotonic() - started:.0f} s; others had {others[name]:.0%} of the cores", file=sys.stderr
    )
    return found


def _options() -> argparse.Namespace:
    known = sorted({bench.name for bench in BENCHES} | {bar.name for bench in BENCHES for bar in bench.bars})
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measures against the promised numbers.")
    parser.add_argument("rows", nargs="*", metavar="ROW", help="a row or a bench (see --list); all by default")
    parser.add_argument("--list", action="store_true", help="name the rows, and measure nothing")
    parser.add_argument("--quick", action="store_true", help="a fifth of the rounds; RESULTS.md stays as it is")
    options = parser.parse_args()
    if unknown := [name for name in options.rows if name not in known]:
        parser.error(f"no such row: {', '.join(unknown)}")
    return options


if __name__ == "__main__":
    main()
