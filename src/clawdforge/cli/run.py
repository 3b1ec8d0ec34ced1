"""`clawdforge run`: one prompt, one result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from clawdforge.cli import terminal
from clawdforge.cli.caller import Caller, pass_caller
from clawdforge.cli.failures import NoAnswer
from clawdforge.cli.options import Command, asking, choosing_an_agent
from clawdforge.wire import codec


@click.command(cls=Command)
@asking
@choosing_an_agent
@pass_caller
def run(caller: Caller, /, prompt: str, paths: tuple[Path, ...], agent: str | None, **options: Any) -> None:
    """Ask one thing and print the result; PROMPT - reads it from stdin.

    A result that is JSON is printed as JSON. Exits with 6 where the agent refused, did nothing, or its result
    does not fit the schema.

    \b
    Examples:
      clawdforge run "Write a haiku about sockets"
      git diff | clawdforge run - --agent codex --system "You review code."
      clawdforge run "Read this bill" --file bill.pdf --schema bill.json
    """
    with caller.forge() as forge, terminal.waiting(f"{agent or 'claude'} works"):
        files = [forge.upload_file(path) for path in paths] or None
        result = forge.run(prompt, agent=agent, files=files, **options)
    if caller.as_json:
        terminal.emit(codec.to_json(result))
    elif result.result not in (None, ""):
        terminal.say(terminal.value_text(result.result))
    end_unless_answered(result.ok, result.stop_reason, result.schema_valid, result.schema_errors)


def end_unless_answered(
    ok: bool, stop_reason: str, schema_valid: bool | None, schema_errors: list[str] | None
) -> None:
    """Ends the command with 6 where an answer came that answers nothing.

    Raises:
        NoAnswer: `ok` is False, or the schema is not met.
    """
    if ok and schema_valid is not False:
        return
    if not ok:
        why = f"the agent gave no answer (stop_reason {stop_reason})"
    else:
        why = f"the result does not fit the schema: {'; '.join(map(str, schema_errors or ['no reason given']))}"
    raise NoAnswer(why)
