"""`clawdforge agents test`: an agent plays the stories of what an app relies on, against a scripted model.

Shows them and keeps how they ended. What the stories are, and what a stage is, is the business of
`clawdforge.testing.stories`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from clawdforge.cli import terminal
from clawdforge.cli.caller import Caller
from clawdforge.cli.failures import Exit, Failure
from clawdforge.cli.options import Command
from clawdforge.errors import ForgeError
from clawdforge.wire import codec
from clawdforge.wire.agents import AgentTested, StoryOutcome

if TYPE_CHECKING:
    from pathlib import Path

    from clawdforge.server.agents.entry import AgentEntry
    from clawdforge.testing.stories import Story

_NAME_WIDTH: Final = 12


class StoriesCommand(Command):
    """A command whose help ends with the stories that there are."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Stories"):
            formatter.write_dl([(story.name, story.title) for story in _all_stories()])


def play(
    caller: Caller, entry: AgentEntry, data_dir: Path, names: Sequence[str], version: str | None
) -> Mapping[str, Any]:
    """Plays stories with an agent, and shows how they end. Where all are played, that is kept for `GET /agents`.

    Args:
        caller: who wants to see it, and how.
        entry: of the catalog, the user's settings included.
        data_dir: the gateway's.
        names: which stories; all of them where empty.
        version: the agent's.

    Returns:
        The document that was, or would be, printed as JSON.

    Raises:
        Failure: they could not be played.
    """
    from clawdforge.server.agents import available
    from clawdforge.testing.stories.gateway import GatewayFailed
    from clawdforge.testing.stories.pointed import NoWay

    stories = chosen(names)
    try:
        argv = available.find(entry, data_dir)
        outcomes, info = _played(entry, argv, stories)
    except available.Unavailable as problem:
        raise Failure(f"the agent {entry.name!r} cannot run here: {problem}", Exit.GATEWAY) from problem
    except NoWay as problem:
        raise Failure(str(problem), Exit.USAGE) from problem
    except (GatewayFailed, ForgeError) as problem:
        raise Failure(f"the gateway to play on failed: {problem}", Exit.GATEWAY) from problem
    except KeyboardInterrupt:
        raise Failure("interrupted; nothing of it runs on", Exit.INTERRUPTED) from None
    tested = AgentTested(version, int(time.time()), tuple(outcomes))
    if not names:
        _keep(data_dir, entry.name, tested, info)
    ok = all(each.outcome != "fails" for each in outcomes)
    document = {"ok": ok, "agent": entry.name, **codec.to_json(tested)}
    if caller.as_json:
        terminal.emit(document)
    else:
        _show(outcomes)
    return document


def chosen(names: Sequence[str]) -> list[Story]:
    """The stories of these names, in the table's order; all of them where there are no names.

    Raises:
        Failure: there is none of that name.
    """
    stories = _all_stories()
    known = [story.name for story in stories]
    if unknown := [name for name in names if name not in known]:
        raise Failure(f"no story is called {unknown[0]!r}; there are: {', '.join(known)}", Exit.USAGE)
    return [story for story in stories if not names or story.name in names]


def _all_stories() -> Sequence[Story]:
    from clawdforge.testing.stories import STORIES

    return STORIES


def _played(
    entry: AgentEntry, argv: Sequence[str], stories: Sequence[Story]
) -> tuple[list[StoryOutcome], Mapping[str, Any]]:
    from clawdforge.testing.stories import perform
    from clawdforge.testing.stories.trial import stage_for

    outcomes = []
    with stage_for(entry, argv) as stage:
        for number, story in enumerate(stories, start=1):
            with terminal.waiting(f"{number}/{len(stories)} {story.name}: {story.title}"):
                outcomes.append(perform(story, stage))
            terminal.note(_line(outcomes[-1]))
        return outcomes, stage.info()


def _line(outcome: StoryOutcome) -> str:
    return f"{outcome.outcome:7} {outcome.story:{_NAME_WIDTH}} {outcome.duration_ms / 1000:5.1f} s"


def _show(outcomes: Sequence[StoryOutcome]) -> None:
    terminal.table(
        ("STORY", "OUTCOME", "WHAT IT TELLS, OR WHY NOT"),
        [(each.story, each.outcome, each.why or each.title) for each in outcomes],
    )


def _keep(data_dir: Path, name: str, tested: AgentTested, info: Mapping[str, Any]) -> None:
    from clawdforge.server.agents import tested as kept
    from clawdforge.server.agents.offers import Offers

    offers = Offers(_words(info["modes"]), _words(info["models"]), None, info["capabilities"]["images"])
    try:
        kept.keep(data_dir, name, tested, offers)
    except OSError as error:
        terminal.note(f"The outcome could not be kept in {data_dir}: {error.strerror}")


def _words(value: list[str] | None) -> tuple[str, ...] | None:
    return None if value is None else tuple(value)
