"""`clawdforge agents`: what can run on this machine, putting it there, and trying it.

Asks the catalog directly, no gateway. Only shows: what is known of an agent, whether it can start, and how it
is installed is the business of `clawdforge.server.agents`; how it is tried, of `trial`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec

import click

from clawdforge.cli import terminal, trial
from clawdforge.cli.caller import Caller, pass_caller
from clawdforge.cli.failures import Exit, Failure
from clawdforge.cli.options import EXISTING_FILE, Group
from clawdforge.cli.serve import load_settings
from clawdforge.wire import codec
from clawdforge.wire.agents import AgentInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from clawdforge.server.agents.entry import AgentEntry
    from clawdforge.server.settings import Settings

P = ParamSpec("P")


def _located(command: Callable[P, None]) -> Callable[P, None]:
    """Which gateway's: before the name of a command or behind it, where it counts more."""
    command = click.option(
        "--config", type=EXISTING_FILE, metavar="FILE", help="The gateway's settings, as TOML."
    )(command)
    return click.option(
        "--data-dir",
        type=click.Path(file_okay=False, path_type=Path),
        help="The gateway's data directory, where agents are installed.",
    )(command)


@click.group(cls=Group, invoke_without_command=True)
@_located
@click.pass_context
def agents(context: click.Context, data_dir: Path | None, config: Path | None) -> None:
    """List the agents, and what each still needs.

    \b
    Examples:
      clawdforge agents
      clawdforge agents install local
      clawdforge agents test claude
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
@_located
@pass_caller
@click.pass_context
def install(context: click.Context, caller: Caller, name: str, data_dir: Path | None, config: Path | None) -> None:
    """Install the agent NAME.

    It goes below the gateway's data directory, and what was fetched is checked.

    \b
    Examples:
      clawdforge agents install local
      clawdforge agents install claude --data-dir ./data
    """
    settings, entry = _named(context, name, config, data_dir)
    from clawdforge.server.agents import available
    from clawdforge.server.agents import install as installer

    terminal.note(f"Installing {name}.")
    try:
        with terminal.download_bar() as progress:
            done = installer.install(entry, settings.data_dir, progress)
    except installer.InstallError as error:
        raise Failure(str(error), Exit.GATEWAY) from error
    info = available.info(entry, settings.data_dir)
    if not info.available:
        raise Failure(f"{done} But it cannot start: {info.reason}", Exit.GATEWAY)
    if caller.as_json:
        terminal.emit({"ok": True, **codec.to_json(info)})
    else:
        terminal.note(f"{done}\nTry it: clawdforge run --agent {name} 'Hello'")


@agents.command(cls=trial.StoriesCommand)
@click.argument("name")
@click.option("--story", "names", metavar="STORY", multiple=True, help="Play this one only. May be repeated.")
@_located
@pass_caller
@click.pass_context
def test(
    context: click.Context,
    caller: Caller,
    name: str,
    names: tuple[str, ...],
    data_dir: Path | None,
    config: Path | None,
) -> None:
    """Try the agent NAME by stories that it plays.

    Each is something that an app relies on. The agent is started as the gateway starts it, on a gateway of its
    own that is gone afterwards, and talks to a scripted model on this machine: no login, no key and no network is
    needed, nothing that you have is touched, and nothing is paid. It takes about half a minute.

    A story works, or fails and says why, or is one that the agent cannot play. Exits with 5 where one fails. How
    all of them ended is kept below the data directory: GET /agents/NAME shows it.

    \b
    Examples:
      clawdforge agents test claude
      clawdforge agents test codex --story write --story killed
      clawdforge agents test mine --story json --config clawdforge.toml
    """
    settings, entry = _named(context, name, config, data_dir)
    from clawdforge.server.agents import available

    version = available.info(entry, settings.data_dir).version
    document = trial.play(caller, entry, settings.data_dir, names, version)
    if not document["ok"]:
        context.exit(Exit.GATEWAY)


def _named(
    context: click.Context, name: str, config: Path | None, data_dir: Path | None
) -> tuple[Settings, AgentEntry]:
    """The settings, and the agent of that name.

    Raises:
        Failure: there is none.
    """
    groups_config, groups_data_dir = context.meta[__name__]
    settings = load_settings(config or groups_config, data_dir=data_dir or groups_data_dir)
    entries = catalog_of(settings)
    if name not in entries:
        raise Failure(f"no agent is called {name!r}; known are: {', '.join(sorted(entries))}", Exit.USAGE)
    return settings, entries[name]


def list_agents(settings: Settings) -> list[AgentInfo]:
    """Every agent of the catalog, by name."""
    entries = catalog_of(settings)
    from clawdforge.server.agents import available

    return [available.info(entries[name], settings.data_dir) for name in sorted(entries)]


def catalog_of(settings: Settings) -> Mapping[str, AgentEntry]:
    """What is known about each agent, with the settings' own.

    Raises:
        Failure: the settings describe an agent that cannot be.
    """
    from clawdforge.server.agents import catalog

    try:
        return catalog.catalog(settings.agents)
    except ValueError as error:
        raise Failure(f"a setting is wrong: {error}", Exit.USAGE) from None
