"""`clawdforge session …`: conversations of many turns."""

from __future__ import annotations

from typing import Any

import click

from clawdforge.cli import answering, keyboard, looking, terminal
from clawdforge.cli.caller import Caller, pass_caller
from clawdforge.cli.options import (
    Attached,
    Group,
    asking,
    choosing_an_agent,
    naming_a_session,
    naming_a_session_or_run,
    parsed_object,
)
from clawdforge.errors import ForgeProtocolError
from clawdforge.wire import codec


@click.group(cls=Group)
def session() -> None:
    """Talk with an agent over many turns.

    \b
    Example:
      ID=$(clawdforge session new --agent claude)
      clawdforge session turn $ID "Write a prime sieve in sieve.py"
      clawdforge session turn $ID "Now make it faster"
      clawdforge session close $ID
    """


def _meta(context: click.Context, parameter: click.Parameter, value: str | None) -> dict[str, Any] | None:
    if value is None:
        return None
    try:
        return parsed_object(value)
    except ValueError as error:
        raise click.BadParameter(str(error), context, parameter) from None


@session.command()
@choosing_an_agent
@click.option("--meta", callback=_meta, metavar="JSON", help="Your own JSON object, kept with the session.")
@pass_caller
def new(caller: Caller, /, agent: str | None, meta: dict[str, Any] | None, **options: Any) -> None:
    """Open a session and print its id. Its agent has started then.

    \b
    Example:
      clawdforge session new --agent codex --meta '{"ticket": 17}'
    """
    with caller.forge() as forge, terminal.waiting(f"{agent or 'claude'} starts"):
        made = forge.create_session(agent=agent, meta=meta, **options)
        session_id = made.session_id
        state = made.state() if caller.as_json else {}
    if caller.as_json:
        terminal.emit(state)
    else:
        terminal.say(session_id)


@session.command()
@naming_a_session
@asking
@pass_caller
def turn(
    caller: Caller,
    session_id: str,
    prompt: str,
    attached: tuple[Attached, ...],
    timeout_secs: int | None,
    schema: dict[str, Any] | None,
) -> None:
    """Send one prompt and print the agent's answer.

    A PROMPT of - is read from stdin. Ctrl-C cancels the turn. On a terminal what the agent asks for is put to you;
    without one it waits for `clawdforge session answer`, or another program.

    \b
    Examples:
      clawdforge session turn sess_abc "What did we decide?"
      clawdforge session turn sess_abc - --file log.txt < question.txt
    """
    from clawdforge.cli.asked import answer, deadlines, end_unless_answered  # with all the classes of events

    with caller.forge() as forge:
        talk = forge.attach_session(session_id)
        files = [forge.upload_file(each) for each in attached] or None
        policy = talk.state().get("permissions") if keyboard.has_somebody() else None
        options: Any = deadlines(policy, timeout_secs, forge.default_timeout_secs)
        result = answer(
            lambda: talk.stream(prompt, files, schema=schema, **options), f"{talk.agent} works", talk.agent_cwd
        )
    if caller.as_json:
        terminal.emit(codec.to_json(result))
    elif result.result is not None:
        terminal.say(terminal.value_text(result.result))
    elif result.text():
        terminal.say(result.text())
    end_unless_answered(result)


@session.command()
@naming_a_session
@pass_caller
def get(caller: Caller, session_id: str) -> None:
    """Print the gateway's record of a session.

    \b
    Example:
      clawdforge session get sess_abc
    """
    with caller.forge() as forge:
        state = forge.get_session(session_id)
    if caller.as_json:
        terminal.emit(state)
    else:
        terminal.record({name: value for name, value in state.items() if name != "ok"})


@session.command("list")
@click.option("--open", "open_only", is_flag=True, help="Leave out closed sessions.")
@pass_caller
def list_(caller: Caller, open_only: bool) -> None:
    """List this app's sessions, newest first.

    \b
    Example:
      clawdforge session list --open
    """
    with caller.forge() as forge:
        answer = forge.list_sessions(include_closed=not open_only)
        rows = answer.get("sessions")
        if not isinstance(rows, list):
            raise ForgeProtocolError("the list of sessions is missing")
    if caller.as_json:
        terminal.emit(answer)
        return
    terminal.table(
        ("SESSION", "AGENT", "TURNS", "CREATED", "LAST TURN", "CLOSED"),
        [
            (
                str(row.get("session_id")),
                str(row.get("agent")),
                str(row.get("turn_count")),
                terminal.when_text(row.get("created_at")),
                terminal.when_text(row.get("last_turn_at")),
                terminal.when_text(row.get("closed_at")),
            )
            for row in rows
            if isinstance(row, dict)
        ],
    )


@session.command()
@naming_a_session
@pass_caller
def close(caller: Caller, session_id: str) -> None:
    """Close a session and end its agent. Closing it again does no harm.

    \b
    Example:
      clawdforge session close sess_abc
    """
    with caller.forge() as forge, terminal.waiting("the session closes"):
        forge.attach_session(session_id).close()
    if caller.as_json:
        terminal.emit({"ok": True, "session_id": session_id})
    else:
        terminal.note(f"Closed {session_id}.")


@session.command()
@naming_a_session_or_run
@click.option(
    "--turn", "turn_index", type=click.IntRange(1), metavar="N", help="Which one. Default: the one that runs."
)
@pass_caller
def cancel(caller: Caller, session_id: str, turn_index: int | None) -> None:
    """End a turn that runs or waits, or a run.

    It has ended when this returns; the session goes on.

    \b
    Examples:
      clawdforge session cancel sess_abc
      clawdforge session cancel run_abc
    """
    with caller.forge() as forge, terminal.waiting("the turn ends"):
        done = forge.attach_session(session_id).cancel(turn_index)
    if caller.as_json:
        terminal.emit({"ok": True, "session_id": session_id, "cancelled": done})
    else:
        terminal.note("Cancelled." if done else "There was nothing to cancel.")


@session.command()
@naming_a_session
@click.option("--meta", callback=_meta, metavar="JSON", help="A JSON object in place of the session's own.")
@pass_caller
def fork(caller: Caller, session_id: str, meta: dict[str, Any] | None) -> None:
    """Copy a session, and print the copy's id.

    It has the same conversation and a copy of the workspace. A closed session can be copied, too.

    \b
    Example:
      clawdforge session fork sess_abc
    """
    with caller.forge() as forge, terminal.waiting("the session is copied"):
        made = forge.attach_session(session_id).fork(meta)
        state = made.state() if caller.as_json else {}
    if caller.as_json:
        terminal.emit(state)
    else:
        terminal.say(made.session_id)


for _command in (answering.answer, looking.watch, looking.diff, looking.export):
    session.add_command(_command)
