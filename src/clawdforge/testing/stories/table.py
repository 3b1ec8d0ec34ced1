"""The table of stories, and how one is played: every agent plays the same ones, for tests and for users."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from clawdforge.errors import ForgeError
from clawdforge.testing.stories import answers, choices, endings, permissions
from clawdforge.testing.stories.planted import planted
from clawdforge.testing.stories.stage import Stage, StoryFailed
from clawdforge.wire.agents import StoryEnd, StoryOutcome


@dataclass(frozen=True, slots=True)
class Story:
    """One thing that an app relies on.

    Attributes:
        name: what it is called on the command line.
        title: what holds where it works.
        play: does it; raises StoryFailed, or an error of the SDK, where it does not work.
        needs: what an agent must not lack (`wire.agents.AgentCapabilities.lacks`).
    """

    name: str
    title: str
    play: Callable[[Stage], None]
    needs: tuple[str, ...] = ()


STORIES: Final = (
    Story("json", "a run returns the JSON that the model put into a fence", answers.json_run),
    Story("schema", "a result that does not fit its schema is asked for once more", answers.repaired),
    Story("context", "a second turn still knows the first", answers.context),
    Story("thinking", "thinking is told apart from the answer", answers.thinking, ("thinking",)),
    Story("write", "a file that the model writes is there, its tool call in the answer", answers.writes),
    Story("upload", "an uploaded file lies in the workspace, and the agent reads it", answers.upload),
    Story("usage", "the agent tells the turn's tokens", answers.usage, ("usage",)),
    Story("workspace", "by default it asks, and may edit inside its workspace alone", permissions.workspace),
    Story("allow", "`allow` lets it run any command", permissions.allow),
    Story("reads", "`reads` lets it read, and nothing else", permissions.reads),
    Story("deny", "`deny` refuses all that it asks for", permissions.deny),
    Story("ask", "`ask` has the app decide each time, and it goes on either way", permissions.ask),
    Story("planted", "settings that lie in the workspace are without effect", planted),
    Story("model", "a model reaches the request", choices.model, ("model",)),
    Story("effort", "an effort reaches the request", choices.effort, ("effort",)),
    Story("system", "a system prompt is added to its own", choices.system_append),
    Story("replace", "a system prompt takes the place of its own", choices.system_replace, ("system_replace",)),
    Story("refused", "a value that it cannot take is refused", choices.refused),
    Story("deadline", "a deadline ends an answer that goes on, and the session lives on", endings.deadline),
    Story("error", "an error of the model is an error, and the session lives on", endings.model_error),
    Story("drop", "a model that hangs up ends the turn in time, and the session lives on", endings.model_drops),
    Story("killed", "a killed agent ends its turn, and the next agent knows what was said", endings.killed),
    Story("closed", "a closed session leaves nothing running", endings.closed),
)


def perform(story: Story, stage: Stage) -> StoryOutcome:
    """Plays one story to its end. Only what the story itself is about is judged: a fault of ours is raised."""
    lacks: Mapping[str, str] = stage.info()["capabilities"]["lacks"]
    missing = next((lacks[need] for need in story.needs if need in lacks), None)
    if missing is not None:
        return StoryOutcome(story.name, story.title, "cannot", 0, missing)
    began = time.monotonic()
    end: StoryEnd = "works"
    why = None
    try:
        story.play(stage)
    except (StoryFailed, ForgeError) as error:
        end, why = "fails", str(error)
        stage.forget()
    return StoryOutcome(story.name, story.title, end, round((time.monotonic() - began) * 1000), why)
