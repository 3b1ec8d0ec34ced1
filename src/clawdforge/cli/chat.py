"""`clawdforge chat`: a conversation that can be gone on with another day.

Opens the session and says what becomes of it. How one talks is the business of `conversation` on a terminal, of
`dictation` where prompts come from a pipe.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from clawdforge.cli import suggestions, terminal
from clawdforge.cli.caller import Caller, pass_caller
from clawdforge.cli.failures import Exit, Failure
from clawdforge.cli.options import Command, choosing_an_agent, of_a_session
from clawdforge.cli.talk import Talk

if TYPE_CHECKING:
    from clawdforge.client.forge import Forge


@click.command(cls=Command)
@choosing_an_agent
@click.option(
    "--session",
    "session_id",
    metavar="ID",
    callback=of_a_session,
    shell_complete=suggestions.sessions,
    help="Go on with this session.",
)
@click.option("-c", "--continue", "last", is_flag=True, help="Go on with the open session that was used last.")
@click.option("--close", "closes", is_flag=True, help="Close the session in the end. Else it can be gone on with.")
@pass_caller
def chat(caller: Caller, /, session_id: str | None, last: bool, closes: bool, **options: Any) -> None:
    """Talk with an agent.

    What it may not do unasked it asks for, unless --permissions says otherwise. Ctrl-C cancels what it does, and
    twice at the prompt leaves, as Ctrl-D does. A line that ends with a backslash goes on in the next one. /help
    tells what else can be typed.

    Where stdin or stdout is no terminal, each line of stdin is a prompt, and its answer goes to stdout as plain
    text; what the agent asks for is refused, and the first turn that fails ends it all. With --json each turn is
    a JSON document on a line of its own.

    \b
    Examples:
      clawdforge chat
      clawdforge chat --continue
      echo "What is in this folder?" | clawdforge chat --agent claude --close
    """
    chosen = {name: value for name, value in options.items() if value is not None}
    if session_id and last:
        raise click.UsageError("--session and --continue exclude each other")
    if (session_id or last) and chosen:
        raise click.UsageError(f"a session has its agent and options already: leave out --{min(chosen)}")
    typed = sys.stdin.isatty() and sys.stdout.isatty() and not caller.as_json
    with caller.forge() as forge:
        talk = _opened(forge, session_id or (_last_open(forge) if last else None), chosen, typed=typed)
        try:
            if typed:
                from clawdforge.cli.conversation import Conversation

                Conversation(talk).go()
            else:
                from clawdforge.cli.dictation import Dictation

                Dictation(talk, sys.stdin, as_json=caller.as_json).go()
        finally:
            _leave(talk, closes=closes)


def _opened(forge: Forge, session_id: str | None, chosen: dict[str, Any], *, typed: bool) -> Talk:
    """The session of that id, else a new one; there a person is asked, unless something else was chosen."""
    if session_id is not None:
        return Talk(forge, forge.attach_session(session_id), is_new=False)
    if typed:
        chosen = {"permissions": "ask", **chosen}
    with terminal.waiting(f"{chosen.get('agent', 'claude')} starts"):
        return Talk(forge, forge.create_session(**chosen), is_new=True)


def _last_open(forge: Forge) -> str:
    """The open session that was used last.

    Raises:
        Failure: none is open.
    """
    rows = list(forge.sessions(include_closed=False))
    if not rows:
        raise Failure("no session is open", Exit.USAGE, "Begin one: clawdforge chat")
    return str(max(rows, key=lambda row: row.get("last_turn_at") or row.get("created_at") or 0)["session_id"])


def _leave(talk: Talk, *, closes: bool) -> None:
    """Closes the session, or says how to go on with it."""
    name = talk.session.session_id
    if closes or (talk.is_new and not talk.talked):  # what nobody has said a word in is nothing to go on with
        talk.session.close()
        terminal.note(f"Closed {name}.")
    else:
        terminal.note(f"resume: clawdforge chat --session {name}")
