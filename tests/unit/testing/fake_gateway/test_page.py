"""The tests that docs/testing.md shows pass as they stand, with the fixture as pytest finds it."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tomllib
from pathlib import Path

from harness import pages
from harness.pages import ROOT

PAGE = "docs/testing.md"


def test_the_fixture_is_a_plugin_of_pytest() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    plugin = importlib.import_module(project["entry-points"]["pytest11"]["clawdforge"])
    assert plugin.fake_gateway.name == "fake_gateway"


def test_a_run_of_pytest_loads_nothing_for_the_plugin() -> None:
    code = "import clawdforge.testing.plugin, sys; print(*(n for n in sys.modules if n.startswith('clawdforge')))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert loaded == ["clawdforge", "clawdforge.testing", "clawdforge.testing.plugin"]


def test_the_tests_of_the_page_pass(tmp_path: Path) -> None:
    shown = pages.tests(PAGE)
    assert len(shown) > 5
    (tmp_path / "conftest.py").write_text("from clawdforge.testing.plugin import fake_gateway\n")
    for each in shown:
        (tmp_path / f"test_of_line_{each.line}.py").write_text(each.code)
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("CLAWDFORGE_", "PYTEST_"))}
    plain["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # those of this project's own tests take seconds to load
    argv = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "--durations=3"]
    done = subprocess.run(argv, cwd=tmp_path, env=plain, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not pages.programs(PAGE)  # a program of the page would be run by nobody
