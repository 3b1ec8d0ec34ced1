"""`clawdforge run`: one prompt, one result."""

from __future__ import annotations

from typing import Any, Final

import click

from clawdforge.cli import keyboard, terminal
from clawdforge.cli.caller import Caller, pass_caller
from clawdforge.cli.failures import Exit, Failure
from clawdforge.cli.options import Attached, Command, asking, choosing_an_agent
from clawdforge.wire import codec

_NOBODY: Final = "--permissions ask: there is no terminal where somebody could be asked"
_ELSEWHERE: Final = (
    "Say what it may do unasked: --permissions workspace, for one. Where a program answers, ask in a session:\n"
    "       clawdforge session new --permissions ask, then session turn."
)


@click.command(cls=Command)
@asking
@choosing_an_agent
@pass_caller
def run(
    caller: Caller,
    /,
    prompt: str,
    attached: tuple[Attached, ...],
    timeout_secs: int | None,
    agent: str | None,
    permissions: Any,
    **options: Any,
) -> None:
    """Ask one thing and print the result.

    A PROMPT of - is read from stdin. A result that is JSON is printed as JSON. Exits with 6 where the agent
    refused, did nothing, or its result does not fit the schema.

    On a terminal it shows meanwhile what the agent does, and puts to you, with --permissions ask, what that asks
    for. Ctrl-C cancels the run.

    \b
    Examples:
      clawdforge run "Write a haiku about sockets"
      git diff | clawdforge run - --agent codex --system "You review code."
      git diff | clawdforge run "What could break by this?" -f -
      clawdforge run "Read these bills" -f may.pdf -f june.pdf --schema bills.json
    """
    from clawdforge.cli.asked import answer, deadlines, end_unless_answered  # with all the classes of events

    if permissions == "ask" and not keyboard.has_somebody():
        raise Failure(_NOBODY, Exit.USAGE, _ELSEWHERE)
    with caller.forge() as forge:
        files = [forge.upload_file(each) for each in attached] or None
        options |= deadlines(permissions, timeout_secs, forge.default_timeout_secs)
        result = answer(
            lambda: forge.stream(prompt, agent=agent, files=files, permissions=permissions, **options),
            f"{agent or 'claude'} works",
        )
    if caller.as_json:
        terminal.emit(codec.to_json(result))
    elif result.result not in (None, ""):
        terminal.say(terminal.value_text(result.result))
    end_unless_answered(result)
