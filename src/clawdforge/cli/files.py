"""`clawdforge upload` and `clawdforge file …`: files for later prompts."""

from __future__ import annotations

from pathlib import Path

import click

from clawdforge.cli import terminal
from clawdforge.cli.caller import Caller, pass_caller
from clawdforge.cli.options import EXISTING_FILE, Command, Group
from clawdforge.wire import codec


@click.command(cls=Command)
@click.argument("path", type=EXISTING_FILE)
@click.option(
    "--ttl",
    "ttl_secs",
    type=click.IntRange(60, 86_400),
    metavar="SECONDS",
    help="How long the gateway keeps it. Default: 3600.",
)
@pass_caller
def upload(caller: Caller, path: Path, ttl_secs: int | None) -> None:
    """Upload a file, and print its token.

    By that it is named in later calls.

    \b
    Example:
      clawdforge upload report.pdf --ttl 86400
    """
    with caller.forge() as forge, terminal.waiting(f"{path.name} is sent"):
        token = forge.upload_file(path, ttl_secs)
    if caller.as_json:
        terminal.emit(codec.to_json(token))
    else:
        terminal.say(token.file_token)


@click.group(cls=Group)
def file() -> None:
    """Look at what was uploaded, and drop it early.

    \b
    Examples:
      clawdforge file get ff_…
      clawdforge file delete ff_…
    """


@file.command()
@click.argument("file_token")
@pass_caller
def get(caller: Caller, file_token: str) -> None:
    """Show what the gateway knows of an upload.

    \b
    Example:
      clawdforge file get ff_…
    """
    with caller.forge() as forge:
        known = forge.get_file(file_token)
    if caller.as_json:
        terminal.emit(known)
    else:
        terminal.record({name: value for name, value in known.items() if name != "ok"})


@file.command()
@click.argument("file_token")
@pass_caller
def delete(caller: Caller, file_token: str) -> None:
    """Drop an upload before its time. Where it was laid into a workspace, it stays.

    \b
    Example:
      clawdforge file delete ff_…
    """
    with caller.forge() as forge:
        answer = forge.delete_file(file_token)
    if caller.as_json:
        terminal.emit(answer)
    else:
        terminal.note(f"Deleted {file_token}.")
