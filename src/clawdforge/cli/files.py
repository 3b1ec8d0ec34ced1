"""`clawdforge upload`: a file for later prompts."""

from __future__ import annotations

from pathlib import Path

import click

from clawdforge.cli import terminal
from clawdforge.cli.options import EXISTING_FILE, Caller, Command, pass_caller
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
    """Upload a file and print the token that names it in later calls.

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
