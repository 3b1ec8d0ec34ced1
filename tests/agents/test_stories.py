"""Every agent plays every story, and it goes as the table of docs/agents.md says: so the table is true."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from clawdforge import Forge
from clawdforge.testing.stories import STORIES, Stage, Story, perform
from harness.gateway import Gateway

DOCUMENT = Path(__file__).parents[2] / "docs" / "agents.md"


def rows() -> list[list[str]]:
    """The cells of the document's table of stories, its heading first."""
    lines = DOCUMENT.read_text().partition("## What works")[2].splitlines()
    table = [line for line in lines if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in (table[0], *table[2:])]


AGENTS = rows()[0][1:]
BY_COMMAND = "codex"
"""The agent that answers fastest plays by the command, as users have it play; the others on a shared stage."""
CLAIMS = {
    (agent, row[0].partition(":")[0].strip("`")): claim
    for row in rows()[1:]
    for agent, claim in zip(AGENTS, row[1:], strict=True)
}


def test_the_table_holds_each_story_once_by_its_name_and_title() -> None:
    assert [row[0] for row in rows()[1:]] == [f"`{story.name}`: {story.title}" for story in STORIES]


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
@pytest.mark.parametrize("stage", [name for name in AGENTS if name != BY_COMMAND], indirect=True)
def test_a_story_goes_as_the_table_says(stage: Stage, story: Story) -> None:
    played = perform(story, stage)
    assert claimed(played.outcome, played.why) == CLAIMS[stage.agent, story.name], played.why


def test_the_command_plays_them_all_and_the_gateway_then_shows_how_they_ended(
    gateway: Gateway, node_agents: Path, app: Forge
) -> None:
    """The gateway need not be started anew."""
    before = info_of(app, BY_COMMAND)
    words = ["agents", "--data-dir", gateway.data_dir, "test", BY_COMMAND, "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "clawdforge", *words],
        env={**os.environ, "PATH": f"{node_agents}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert {each["story"]: claimed(each["outcome"], each["why"]) for each in told["stories"]} == {
        story.name: CLAIMS[BY_COMMAND, story.name] for story in STORIES
    }, told["stories"]
    after = info_of(app, BY_COMMAND)
    assert after["version"] == before["version"] == told["version"]
    assert after["tested"] == {"version": told["version"], "at": told["at"], "stories": told["stories"]}
    assert "read-only" in after["modes"] and after["models"]


def claimed(outcome: str, why: str | None) -> str:
    """How the table says it."""
    return f"cannot: {why}" if outcome == "cannot" else outcome


def info_of(app: Forge, name: str) -> dict[str, Any]:
    [row] = [row for row in app.agents()["agents"] if row["name"] == name]
    return dict(row)
