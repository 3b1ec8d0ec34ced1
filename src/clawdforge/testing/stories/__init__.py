"""What an app relies on, as stories that any agent can play against the scripted model: one table for all of them.

    with FakeModel() as model:
        stage = Stage(forge, model, "claude", outside)
        for story in STORIES:
            print(story.name, perform(story, stage).outcome)

A story works, or it fails and says why, or the agent cannot play it: its entry in the catalog says that it lacks
what the story needs.
"""

from clawdforge.testing.stories.stage import Stage, StoryFailed
from clawdforge.testing.stories.table import STORIES, Story, perform

__all__ = ["STORIES", "Stage", "Story", "StoryFailed", "perform"]
