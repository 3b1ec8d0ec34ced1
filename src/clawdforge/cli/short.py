"""`cf`: the first clawdforge's commands by their own names. Each is one of `clawdforge`; none is made here."""

from __future__ import annotations

import re
from typing import Final

import click

from clawdforge.cli import completion, failures, files, health, run, sessions, tokens
from clawdforge.cli.options import HELP, Group
from clawdforge.cli.root import Root

_COMMAND: Final = re.compile(r"\bclawdforge (?:token (?=\w)|(\w+))")


class _Short(Root):
    def reworded(self, text: str) -> str:
        """The examples of those commands that `cf` has too, as they are typed here."""
        return _COMMAND.sub(self._named, text)

    def _named(self, found: re.Match[str]) -> str:
        if found[1] is None:
            return "cf admin token-"
        return f"cf {found[1]}" if found[1] in self.commands else found[0]


@click.group(cls=_Short, epilog=failures.EXIT_CODES, context_settings=HELP)
@click.version_option(package_name="clawdforge", message="cf %(version)s")
def cf() -> None:
    """Ask coding agents, in short: the commands of the first clawdforge, which clawdforge has too.

    Where the gateway is and who asks can stand in ~/.config/clawdforge/cf.env, as lines KEY=VALUE with the keys
    CLAWDFORGE_URL, CLAWDFORGE_TOKEN and CLAWDFORGE_ADMIN_TOKEN; the environment's own count before them.

    \b
    Examples:
      cf healthz
      cf run "Write a haiku about sockets"
      cf session new
    """


@click.group(cls=Group)
@tokens.admin_token_file
def admin() -> None:
    """Make, list and revoke the apps' tokens.

    This needs the admin token: `clawdforge token --help` says where it comes from.

    \b
    Examples:
      cf admin token-mint my-app
      cf admin token-list
    """


admin.add_command(tokens.mint, "token-mint")
admin.add_command(tokens.list_, "token-list")
admin.add_command(tokens.revoke, "token-revoke")
for _command in (health.healthz, run.run, files.upload, admin, sessions.session, completion.completion):
    cf.add_command(_command)
