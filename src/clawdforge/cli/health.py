"""`clawdforge healthz`: whether a gateway is there, and what it says of itself."""

from __future__ import annotations

import click

from clawdforge.cli import terminal
from clawdforge.cli.caller import Caller, pass_caller
from clawdforge.cli.options import Command


@click.command(cls=Command)
@pass_caller
def healthz(caller: Caller) -> None:
    """Print the gateway's own report. No token is needed.

    \b
    Example:
      clawdforge healthz
    """
    with caller.forge() as forge:
        report = forge.healthz()
    if caller.as_json:
        terminal.emit(report)
    else:
        terminal.record(report)
