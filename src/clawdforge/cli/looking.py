"""`clawdforge session watch|diff|export`: a session, or a run, looked at from outside."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clawdforge.cli import terminal
from clawdforge.cli.caller import Caller, pass_caller
from clawdforge.cli.failures import Interrupted
from clawdforge.cli.options import Command, naming_a_session, naming_a_session_or_run
from clawdforge.wire import codec

if TYPE_CHECKING:
    from clawdforge.client.events import Event


@click.command(cls=Command)
@naming_a_session_or_run
@click.option("--after", type=click.IntRange(0), default=0, metavar="SEQ", help="Only events behind this one.")
@click.option("--no-follow", "stops", is_flag=True, help="End with what there is, instead of waiting for more.")
@pass_caller
def watch(caller: Caller, session_id: str, after: int, stops: bool) -> None:
    """Print what happens in a session or run.

    Each event is a line, with --json the event itself, until the session is closed. A cut connection is made
    anew, and no event is missed or told twice.

    \b
    Examples:
      clawdforge session watch sess_abc --after 120
      clawdforge session watch run_abc
      clawdforge session watch sess_abc --no-follow --json | head -n 3
    """
    with caller.forge() as forge:
        happened = forge.attach_session(session_id).events(after=after, follow=not stops)
        try:
            for event in happened:
                if caller.as_json:
                    terminal.emit(dict(event.data))
                else:
                    _show(event)
        except KeyboardInterrupt:
            raise Interrupted("no longer watching; the session goes on") from None


def _show(event: Event) -> None:
    from clawdforge.cli.summary import summary

    turn = "-" if event.turn_index is None else str(event.turn_index)
    if not terminal.can_be_drawn_on(sys.stdout):
        terminal.say(
            "\t".join((terminal.time_text(event.ts // 1000), str(event.seq), turn, event.type, summary(event)))
        )
        return
    when, type_, what = (
        terminal.clock_text(event.ts / 1000),
        *map(terminal.printable, (event.type, summary(event))),
    )
    terminal.line((f"{when} {event.seq:>5} {turn:>3} ", "dim"), (f"{type_:<18} ", "bold"), (what, ""))


@click.command(cls=Command)
@naming_a_session
@click.option("--turn", type=click.IntRange(1), metavar="N", help="Which one. Default: the last that has begun.")
@pass_caller
def diff(caller: Caller, session_id: str, turn: int | None) -> None:
    """Print what a turn changed in the workspace.

    On a terminal that is in colours and with a list of the files, else a patch that git takes.

    \b
    Examples:
      clawdforge session diff sess_abc
      clawdforge session diff sess_abc --turn 1 | git apply
    """
    from clawdforge.cli import diffs

    with caller.forge() as forge:
        changed = forge.attach_session(session_id).diff(turn)
    if caller.as_json:
        terminal.emit(codec.to_json(changed))
    elif terminal.wants_colours(sys.stdout):
        from clawdforge.cli.patches import pieces

        for line in diffs.stat_lines(changed):
            terminal.line((terminal.printable(line), "dim"))
        console = terminal.console()
        for piece in pieces(diffs.patch_lines(changed)):
            console.print(piece, soft_wrap=True)
    elif sys.stdout.isatty():
        terminal.say("\n".join([*diffs.stat_lines(changed), *diffs.patch_lines(changed)]))
    else:
        # To the byte: a patch that was encoded otherwise, or printed safely, would not apply.
        sys.stdout.buffer.write(diffs.patch(changed).encode())
        sys.stdout.buffer.flush()
        for name in diffs.without_patch(changed):
            terminal.note(f"not in the patch: {name}")


@click.command(cls=Command)
@naming_a_session_or_run
@click.option(
    "--format", "form", type=click.Choice(["markdown", "json"]), default="markdown", help="Of the document."
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Where to. Default: stdout.",
)
@pass_caller
def export(caller: Caller, session_id: str, form: str, output: Path | None) -> None:
    """Write down a session or run.

    That is, as markdown, its prompts, answers, tool calls and edits; as JSON it is all that the gateway knows.

    \b
    Examples:
      clawdforge session export sess_abc > session.md
      clawdforge session export run_abc > run.md
      clawdforge session export sess_abc --format json -o session.json
    """
    from clawdforge.cli import transcript

    with caller.forge() as forge:
        session = forge.attach_session(session_id)
        written = transcript.as_json if form == "json" or caller.as_json else transcript.as_markdown
        _write(written(session.state(), session.events(follow=False)), output)


def _write(pieces: Iterable[str], output: Path | None) -> None:
    """Prints the pieces, or makes a file of them, which is there whole or not at all."""
    if output is None:
        for piece in pieces:
            print(terminal.printable(piece) if sys.stdout.isatty() else piece, end="")
        sys.stdout.flush()
        return
    part = output.with_name(f".{output.name}.part")
    try:
        with part.open("w", encoding="utf-8", errors="backslashreplace") as file:
            file.writelines(pieces)
        part.replace(output)
    finally:
        part.unlink(missing_ok=True)
    terminal.note(f"Wrote {output}.")
