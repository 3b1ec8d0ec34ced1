"""`clawdforge token …`: who may use the gateway. Needs the admin token."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from clawdforge.cli import identity, terminal
from clawdforge.cli.caller import Caller, pass_caller
from clawdforge.cli.failures import Exit, Failure
from clawdforge.cli.options import EXISTING_FILE, F, Group
from clawdforge.wire import codec


def _remember(context: click.Context, option: click.Parameter, value: Path | None) -> None:
    context.meta[__name__] = value


admin_token_file: Callable[[F], F] = click.option(
    "--admin-token-file",
    type=EXISTING_FILE,
    metavar="FILE",
    help="A file that holds the admin token.",
    expose_value=False,
    callback=_remember,
)
"""An option for a group of these commands."""


@click.group(cls=Group)
@admin_token_file
def token() -> None:
    """Make, list and revoke the apps' tokens. This needs the admin token.

    It is taken from --token, else --admin-token-file, else CLAWDFORGE_ADMIN_TOKEN (of the environment or of
    cf.env), else the file admin-token in the gateway's data directory (CLAWDFORGE_DATA_DIR, by default
    ~/.local/share/clawdforge).

    \b
    Example:
      clawdforge token --admin-token-file /run/secrets/forge mint my-app
    """


@token.command()
@click.argument("name")
@click.option(
    "--cidr",
    "cidrs",
    multiple=True,
    metavar="NETWORK",
    help="Let the token work from this network only. May be repeated.",
)
@pass_caller
def mint(caller: Caller, name: str, cidrs: tuple[str, ...]) -> None:
    """Make a token for the app NAME and print it. It is shown this once.

    \b
    Example:
      export CLAWDFORGE_TOKEN=$(clawdforge token mint my-app --cidr 10.0.0.0/8)
    """
    with caller.forge(_admin_token(caller)) as forge:
        minted = forge.mint_token(name, list(cidrs) or None)
    if caller.as_json:
        terminal.emit(codec.to_json(minted))
    else:
        terminal.say(minted.token)
        terminal.note("Keep it: it is shown this once.")


@token.command("list")
@pass_caller
def list_(caller: Caller) -> None:
    """List all tokens, without their secrets.

    \b
    Example:
      clawdforge token list
    """
    with caller.forge(_admin_token(caller)) as forge:
        rows = forge.list_tokens()
    if caller.as_json:
        terminal.emit({"ok": True, "tokens": rows, "count": len(rows)})
        return
    terminal.table(
        ("NAME", "NETWORKS", "CREATED", "LAST USED", "REVOKED"),
        [_row(row) for row in rows if isinstance(row, dict)],
    )


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    networks = row.get("ip_cidrs")
    return (
        str(row.get("name")),
        ", ".join(map(str, networks)) if isinstance(networks, list) and networks else "any",
        terminal.when_text(row.get("created_at")),
        terminal.when_text(row.get("last_used_at")),
        terminal.when_text(row.get("revoked_at")),
    )


@token.command()
@click.argument("name")
@pass_caller
def revoke(caller: Caller, name: str) -> None:
    """Revoke the token of the app NAME. From now on it is refused.

    \b
    Example:
      clawdforge token revoke my-app
    """
    with caller.forge(_admin_token(caller)) as forge:
        answer = forge.revoke_token(name)
    if caller.as_json:
        terminal.emit(answer)
    else:
        terminal.note(f"Revoked {name}.")


def _admin_token(caller: Caller) -> str:
    """The admin token, from the first place that has one."""
    if caller.token:
        return caller.token
    named: Path | None = click.get_current_context().meta.get(__name__)
    if named is None and (given := identity.value(identity.ADMIN_TOKEN)):
        return given
    path = named or _data_dir() / "admin-token"
    try:
        found = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise Failure(
            f"no admin token: {path} cannot be read ({reason})",
            Exit.AUTH,
            "Set CLAWDFORGE_DATA_DIR to the gateway's, or CLAWDFORGE_ADMIN_TOKEN, or name the token's file:\n"
            "       clawdforge token --admin-token-file FILE … (`clawdforge serve` makes it)",
        ) from None
    if not found:
        raise Failure(f"no admin token: {path} is empty", Exit.AUTH)
    return found


def _data_dir() -> Path:
    # As the gateway's settings have it, which cannot be asked where only the extra `cli` is installed.
    base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(os.environ.get("CLAWDFORGE_DATA_DIR") or Path(base) / "clawdforge").expanduser()
