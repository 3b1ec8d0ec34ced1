"""How long a tree of processes that will not end is still there after it was killed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from bench.rows import Bar, Bench, Findings, Stage
from bench.sampling import Samples, combined
from harness.stand import interpreter

SLEEPERS, FORKING = 300, 20
TREES = 20
HERE = Path(__file__).parent
ROOT = HERE.parent

WALLED = Bar("end.walled", "a hostile tree of 320 processes at bwrap, from its kill to its end, p50", "ms", 100)
BARE = Bar("end.bare", "the same without a wall", "ms", 100)


def measure(stage: Stage) -> Findings:
    """The rows of ends. The gateway's part runs in a process of its own, which adopts orphans."""
    stage.root.chmod(0o711)  # agents of root are another user
    program = Path(shutil.copy(HERE / "hostile.py", stage.root))
    samples = {
        name: _felled(level, stage, program) for name, level in ((WALLED.name, "bwrap"), (BARE.name, "none"))
    }
    slowest = ", ".join(f"{max(each.values):.0f} ms ({name})" for name, each in samples.items())
    return Findings(
        {name: combined(samples, {name: 1}, 0.5) for name in samples},
        [(f"the slowest of {len(samples[WALLED.name].values)} each", slowest)],
    )


def _felled(level: str, stage: Stage, program: Path) -> Samples:
    place = stage.root / level
    place.mkdir(mode=0o711)
    place.chmod(0o711)
    tree = [interpreter().path, "-I", "-S", str(program), str(SLEEPERS), str(FORKING)]
    done = subprocess.run(
        [sys.executable, str(HERE / "felling.py"), level, str(place), str(stage.rounds(TREES)), *tree],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "src", ROOT / "tests")))},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    told = [line.split() for line in done.stdout.splitlines()]
    left = sum(int(seen) for _, seen in told)
    assert left == 0, f"{left} processes outlived what ended them, at {level}"
    return Samples(tuple(float(lasted_ms) for lasted_ms, _ in told))


BENCH = Bench("end", (WALLED, BARE), measure)
