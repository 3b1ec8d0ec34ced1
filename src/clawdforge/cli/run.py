"""`clawdforge run`: one prompt, one result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from clawdforge.cli import terminal
from clawdforge.cli.caller import Caller, pass_caller
from clawdforge.cli.options import Command, asking, choosing_an_agent
from clawdforge.wire import codec


@click.command(cls=Command)
@asking
@choosing_an_agent
@pass_caller
def run(
    caller: Caller,
    /,
    prompt: str,
    paths: tuple[Path, ...],
    timeout_secs: int | None,
    agent: str | None,
    **options: Any,
) -> None:
    """Ask one thing and print the result.

    PROMPT - reads it from stdin. A result that is JSON is printed as JSON. Exits with 6 where the agent refused,
    did nothing, or its result does not fit the schema.

    On a terminal it shows meanwhile what the agent does. Ctrl-C cancels the run. Nobody is asked anything here:
    for --permissions ask, see `clawdforge chat`.

    \b
    Examples:
      clawdforge run "Write a haiku about sockets"
      git diff | clawdforge run - --agent codex --system "You review code."
      clawdforge run "Read these bills" -f may.pdf -f june.pdf --schema bills.json
    """
    from clawdforge.cli.asked import answer, end_unless_answered  # with all the classes of events

    with caller.forge() as forge:
        files = [forge.upload_file(path) for path in paths] or None
        limit_secs = forge.default_timeout_secs if timeout_secs is None else timeout_secs

        result = answer(
            lambda: forge.stream(prompt, agent=agent, files=files, timeout_secs=limit_secs, **options),
            f"{agent or 'claude'} works",
        )
    if caller.as_json:
        terminal.emit(codec.to_json(result))
    elif result.result not in (None, ""):
        terminal.say(terminal.value_text(result.result))
    end_unless_answered(result)
