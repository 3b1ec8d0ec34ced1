"""`clawdforge serve`: the gateway. Also the way from the command line to the gateway's settings."""

from __future__ import annotations

import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clawdforge.cli.failures import Exit, Failure
from clawdforge.cli.options import EXISTING_FILE, Command

if TYPE_CHECKING:
    from clawdforge.server.settings import Settings


@click.command(cls=Command)
@click.option("--host", metavar="ADDRESS", help="Where to listen. Default: 127.0.0.1.")
@click.option("--port", type=click.IntRange(0, 65_535), help="Default: 8800; 0 picks a free one.")
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where everything is kept. Default: ~/.local/share/clawdforge.",
)
@click.option("--config", type=EXISTING_FILE, metavar="FILE", help="Settings, as TOML.")
@click.option(
    "--sandbox",
    type=click.Choice(["bwrap", "landlock", "none"]),
    help="What agents stand behind. Default: the best that works here, never none.",
)
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="Default: info.")
@click.pass_context
def serve(context: click.Context, /, config: Path | None, **arguments: Any) -> None:
    """Run the gateway until Ctrl-C or SIGTERM.

    Each setting is also a variable: CLAWDFORGE_PORT, CLAWDFORGE_DATA_DIR, … Arguments beat variables, and
    variables beat the file.

    \b
    Examples:
      clawdforge serve
      clawdforge serve --port 0 --data-dir ./data --config clawdforge.toml
    """
    settings = load_settings(config, **arguments)
    from clawdforge.server.main import serve as run_gateway

    context.exit(run_gateway(settings))


def load_settings(config: Path | None, **arguments: Any) -> Settings:
    """The gateway's settings.

    Raises:
        Failure: the extra `server` is not installed, or a setting is wrong.
    """
    # Looked for, not imported: that would cost each command that reads settings a fifth of a second.
    if any(find_spec(name) is None for name in ("fastapi", "pydantic_settings", "uvicorn")):
        raise Failure("this command needs the gateway: pip install 'clawdforge[server]'", Exit.USAGE)
    from clawdforge.server import settings

    try:
        return settings.load(config, **arguments)
    except (OSError, ValueError) as error:
        raise Failure(f"a setting is wrong: {_reason(error, config)}", Exit.USAGE) from None


def _reason(error: OSError | ValueError, config: Path | None) -> str:
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        # Not str(error): that quotes the values, and one of them may be the admin token.
        return "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
    if isinstance(error, (tomllib.TOMLDecodeError, UnicodeDecodeError)):
        return f"{config} is no TOML: {error}"
    return str(error)
