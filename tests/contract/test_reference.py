"""The documentation is built without a warning, and its reference holds all that there is to look up."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from pydantic import BaseModel

import clawdforge
from clawdforge import testing
from clawdforge.cli.root import cli
from clawdforge.server.http.routes import application
from clawdforge.server.settings import AgentSettings, Settings
from tools.reference import settings


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, repo_root: Path) -> Path:
    """What `make docs` makes, but for the theme, which takes as long as all the rest."""
    place = tmp_path_factory.mktemp("docs")
    words = ["sphinx", "--quiet", "--fail-on-warning", "-c", "docs", "-b", "html", "-D", "html_theme=basic"]
    done = subprocess.run(
        [sys.executable, "-m", *words, ".", str(place)],
        cwd=repo_root,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return place / "docs"


def headings(built: Path, page: str) -> set[str]:
    """The headings of a page of the reference."""
    text = (built / "reference" / f"{page}.html").read_text()
    return {re.sub(r"<[^>]+>|¶", "", each) for each in re.findall(r"<h[2-5]>(.*?)</h[2-5]>", text)}


def test_the_site_opens_at_its_root(built: Path) -> None:
    (place,) = re.findall(r"url=([^\"]+)", (built.parent / "index.html").read_text())
    assert "Tutorial" in (built.parent / place).read_text()


def test_every_public_name_is_in_the_reference(built: Path) -> None:
    text = (built / "reference" / "python.html").read_text()
    told = set(re.findall(r'<dt [^>]*id="(clawdforge[.\w]+)"', text))
    names = {f"{module.__name__}.{name}" for module in (clawdforge, testing) for name in module.__all__}
    assert names - told == {"clawdforge.__version__", "clawdforge.testing.fake_agent"}


@pytest.mark.parametrize("kind", [clawdforge.RunOptions, clawdforge.SessionOptions, clawdforge.TurnOptions])
def test_every_option_is_told_of_where_it_can_be_given(kind: type[dict[str, object]]) -> None:
    assert set(re.findall(r"^ {8}(\w+):", kind.__doc__ or "", re.MULTILINE)) == set(kind.__annotations__)


def test_every_call_is_in_the_reference(built: Path) -> None:
    rooms: Any = None  # the document is made of the routes alone
    paths = json.loads(application(rooms).document())["paths"]
    calls = {f"{method.upper()} {path}" for path, operations in paths.items() for method in operations}
    assert calls - headings(built, "http") == set()


def test_every_command_is_in_the_reference(built: Path) -> None:
    def names(command: click.Command, name: str) -> set[str]:
        below = command.commands.values() if isinstance(command, click.Group) else ()
        return {name}.union(*(names(each, f"{name} {each.name}") for each in below if not each.hidden))

    assert names(cli, "clawdforge") - headings(built, "cli") == set()


@pytest.mark.parametrize("kind", [Settings, AgentSettings])
def test_every_setting_is_in_the_reference_with_a_word_about_it(kind: type[BaseModel]) -> None:
    rows = [re.match(r"\| `(\w+)`.*\| ([^|]*) \|$", line) for line in settings.page().splitlines()]
    told = {row[1] for row in rows if row and row[2]}
    assert set(kind.model_fields) - told == set()
