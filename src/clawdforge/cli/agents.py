"""`clawdforge agents`: what can run on this machine, and putting it there.

Asks the catalog directly, no gateway. Only shows: what is known and how it is installed is the business of
`clawdforge.server.agents`, reached through the two functions at the end of this file.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from clawdforge.cli import terminal
from clawdforge.cli.failures import Exit, Failure
from clawdforge.cli.options import EXISTING_FILE, Caller, Group, pass_caller
from clawdforge.cli.serve import load_settings
from clawdforge.wire import codec
from clawdforge.wire.agents import AgentInfo

if TYPE_CHECKING:
    from collections.abc import Callable

    from clawdforge.server.settings import Settings


@click.group(cls=Group, invoke_without_command=True)
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="The gateway's data directory, where agents are installed.",
)
@click.option("--config", type=EXISTING_FILE, metavar="FILE", help="The gateway's settings, as TOML.")
@click.pass_context
def agents(context: click.Context, data_dir: Path | None, config: Path | None) -> None:
    """List the agents that clawdforge knows: available here, or why not.

    \b
    Examples:
      clawdforge agents
      clawdforge agents install local
    """
    context.meta[__name__] = (config, data_dir)
    if context.invoked_subcommand is not None:
        return
    infos = list_agents(load_settings(config, data_dir=data_dir))
    if context.ensure_object(Caller).as_json:
        terminal.emit({"ok": True, "agents": [codec.to_json(info) for info in infos], "count": len(infos)})
        return
    infos.sort(key=lambda info: (not info.available, info.name))
    terminal.table(
        ("AGENT", "AVAILABLE", "VERSION", "WHAT IT IS, OR WHAT IT NEEDS"),
        [
            (info.name, "yes" if info.available else "no", info.version or "", info.reason or info.title)
            for info in infos
        ],
    )


@agents.command()
@click.argument("name")
@pass_caller
@click.pass_context
def install(context: click.Context, caller: Caller, name: str) -> None:
    """Install the agent NAME below the gateway's data directory, and check what was fetched.

    \b
    Examples:
      clawdforge agents install local
      clawdforge agents --data-dir ./data install claude
    """
    config, data_dir = context.meta[__name__]
    settings = load_settings(config, data_dir=data_dir)
    known = [info.name for info in list_agents(settings)]
    if name not in known:
        raise Failure(f"no agent is called {name!r}; known are: {', '.join(known)}", Exit.USAGE)
    terminal.note(f"Installing {name}.")
    with terminal.download_bar() as progress:
        install_agent(name, settings, progress)
    installed = next((info for info in list_agents(settings) if info.name == name), None)
    if installed is None or not installed.available:
        reason = installed.reason if installed is not None else None
        raise Failure(f"{name} was installed but cannot start: {reason}", Exit.GATEWAY, "Run: clawdforge doctor")
    if caller.as_json:
        terminal.emit({"ok": True, **codec.to_json(installed)})
    else:
        terminal.note(f"{name} is ready. Try it: clawdforge run --agent {name} 'Hello'")


def list_agents(settings: Settings) -> list[AgentInfo]:
    """Every agent of the catalog, with the settings' own.

    Raises:
        Failure: the settings describe an agent that cannot be.
    """
    from clawdforge.server.agents import available, catalog

    try:
        entries = catalog.catalog(settings.agents)
    except ValueError as error:
        raise Failure(f"a setting is wrong: {error}", Exit.USAGE) from None
    return [available.info(entries[name], settings.data_dir) for name in sorted(entries)]


def install_agent(name: str, settings: Settings, progress: Callable[[str, int, int | None], None]) -> None:
    """Puts an agent on this machine.

    Args:
        name: of the catalog.
        settings: the gateway's; the agent goes below `data_dir`.
        progress: is told what is fetched, the bytes done, and all bytes (None where nobody knows).

    Raises:
        Failure: there is nothing to install by that name, or it did not work.
    """
    from clawdforge.server.agents import install as installer
    from clawdforge.server.agents.available import Unavailable

    try:
        installer.install(name, settings, progress)
    except (Unavailable, OSError, ValueError) as error:
        raise Failure(f"{name} could not be installed: {error}", Exit.GATEWAY) from error
