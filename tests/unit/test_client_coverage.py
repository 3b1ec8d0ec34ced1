"""The SDK's tests, and the proof that they leave no line and no branch of it untried.

`make test` runs them here alone. To run some of them: `pytest tests/unit/client -k …`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PYTEST = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist")


@pytest.mark.longest
@pytest.mark.timeout(400)
def test_the_sdks_tests_pass_and_try_every_line_and_branch(repo_root: Path, tmp_path: Path) -> None:
    """In a process of its own: what lies at a module's top level runs when it is imported first."""
    env = {**os.environ, "COVERAGE_FILE": str(tmp_path / "data")}
    for command in (
        ["run", "--branch", "--source=clawdforge.client", *PYTEST, "tests/unit/client"],
        ["report", "--fail-under=100", "--precision=2", "--show-missing", "--skip-covered"],
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
