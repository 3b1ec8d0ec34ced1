"""The table of ends leaves no line and no branch untried by its own tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

MODULE = "src/clawdforge/server/sessions/state.py"
TESTS = "tests/unit/server/sessions/test_state.py"
PYTEST = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist")


@pytest.mark.guarantee
def test_every_line_and_branch_of_the_table_is_tried(repo_root: Path, tmp_path: Path) -> None:
    """In a process of its own: what lies at the module's top level runs when it is imported first."""
    env = {**os.environ, "COVERAGE_FILE": str(tmp_path / "data")}
    report = tmp_path / "report.json"
    for command in (
        ["run", "--branch", f"--include={repo_root / MODULE}", *PYTEST, TESTS],
        ["json", "-q", "-o", str(report)],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "coverage", *command],
            cwd=repo_root,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    [found] = json.loads(report.read_text())["files"].values()
    assert (found["missing_lines"], found["missing_branches"]) == ([], [])
    assert found["summary"]["num_branches"] > 0
