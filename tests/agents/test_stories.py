"""Every agent plays every story, and it goes as the table of docs/agents.md says: so the table is true."""

from __future__ import annotations

from pathlib import Path

import pytest

from clawdforge.testing.stories import STORIES, Stage, Story, perform

DOCUMENT = Path(__file__).parents[2] / "docs" / "agents.md"


def rows() -> list[list[str]]:
    """The cells of the document's table of stories, its heading first."""
    lines = DOCUMENT.read_text().partition("## What works")[2].splitlines()
    table = [line for line in lines if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in (table[0], *table[2:])]


AGENTS = rows()[0][1:]
CLAIMS = {
    (agent, row[0].partition(":")[0].strip("`")): claim
    for row in rows()[1:]
    for agent, claim in zip(AGENTS, row[1:], strict=True)
}


def test_the_table_holds_each_story_once_by_its_name_and_title() -> None:
    assert [row[0] for row in rows()[1:]] == [f"`{story.name}`: {story.title}" for story in STORIES]


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
@pytest.mark.parametrize("stage", AGENTS, indirect=True)
def test_a_story_goes_as_the_table_says(stage: Stage, story: Story) -> None:
    played = perform(story, stage)
    seen = f"cannot: {played.why}" if played.outcome == "cannot" else played.outcome
    assert seen == CLAIMS[stage.agent, story.name], played.why
