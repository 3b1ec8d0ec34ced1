"""`clawdforge doctor`: what is missing, and the command that mends it."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clawdforge.cli import failures, terminal
from clawdforge.cli.agents import catalog_of, list_agents
from clawdforge.cli.caller import Caller, pass_caller
from clawdforge.cli.options import EXISTING_FILE, Command
from clawdforge.cli.serve import load_settings
from clawdforge.errors import ForgeAuthError, ForgeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clawdforge.server.agents.entry import AgentEntry
    from clawdforge.server.settings import Settings
    from clawdforge.wire.agents import AgentInfo


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. `mend` says what to do, "" where nothing needs to be done."""

    name: str
    ok: bool
    says: str
    mend: str = ""
    needed: bool = True


@click.command(cls=Command)
@click.option("--data-dir", type=click.Path(file_okay=False, path_type=Path), help="The gateway's data directory.")
@click.option("--config", type=EXISTING_FILE, metavar="FILE", help="The gateway's settings, as TOML.")
@pass_caller
@click.pass_context
def doctor(context: click.Context, caller: Caller, data_dir: Path | None, config: Path | None) -> None:
    """Say what is missing here, and what mends it.

    Exits with 1 where something is missing that every use needs.

    \b
    Example:
      clawdforge doctor
    """
    settings = load_settings(config, data_dir=data_dir)
    infos = list_agents(settings)
    checks = [
        _data_dir(settings.data_dir),
        _sandbox(settings),
        _some_agent(infos),
        *_agents(settings, infos),
        *_gateway(caller),
    ]
    ok = all(check.ok for check in checks if check.needed)
    if caller.as_json:
        terminal.emit({"ok": ok, "checks": [asdict(check) for check in checks]})
    else:
        for check in checks:
            _show(check)
    if not ok:
        context.exit(1)


def _show(check: Check) -> None:
    mark = "ok     " if check.ok else "MISSING" if check.needed else "note   "
    terminal.say(f"{mark}  {check.name}: {check.says}")
    if check.mend:
        terminal.say(f"         -> {check.mend}")


def _data_dir(path: Path) -> Check:
    place = _existing(path)
    if place.is_dir() and os.access(place, os.W_OK | os.X_OK):
        return Check("data directory", True, f"{path}" if path.exists() else f"{path}, made at the first start")
    mend = "Name another: clawdforge serve --data-dir DIR"
    return Check("data directory", False, f"{path} cannot be written", mend)


def _sandbox(settings: Settings) -> Check:
    """What agents would stand behind: tried where their sessions will lie, beside a gateway that may run there."""
    from clawdforge.server.sandbox import probe
    from clawdforge.server.sandbox.base import WallUnavailable

    try:
        with tempfile.TemporaryDirectory(prefix="doctor-", dir=_existing(settings.data_dir)) as trial:
            Path(trial).chmod(0o711)
            wall, why = probe.found(settings.sandbox, Path(trial), settings.agent_uid, settings.network)
            wall.close()
    except WallUnavailable as problem:
        return Check("sandbox", False, str(problem))
    except OSError as error:
        return Check("sandbox", False, f"it could not be tried: {error.strerror}")
    says = f"{wall.level}, network {settings.network}"
    if why:
        says += f": not the best wall. {why}"
    if wall.level == "none":
        says += ": agents can do what their user can, as the settings want it"
    return Check("sandbox", True, says)


def _existing(path: Path) -> Path:
    """The path, or what there is of it."""
    place = path.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    return place


def _some_agent(infos: list[AgentInfo]) -> Check:
    names = [info.name for info in infos if info.available]
    if names:
        return Check("agents", True, ", ".join(names))
    return Check("agents", False, "none of the known agents is installed", "clawdforge agents install local")


def _agents(settings: Settings, infos: list[AgentInfo]) -> list[Check]:
    """What is amiss with the agents that most people want, and with those that the settings name."""
    entries = catalog_of(settings)
    wanted = [info for info in infos if info.name in ("claude", "local", *settings.agents)]
    return [check for info in wanted for check in _agent(info, entries[info.name])]


def _agent(info: AgentInfo, entry: AgentEntry) -> Iterator[Check]:
    if not info.available:
        yield Check(info.name, False, info.reason or "not available", needed=False)
        if entry.package is not None and shutil.which("npm") is None:
            says = f"installing {info.name} needs it"
            yield Check("npm", False, says, "Install Node.js 20 or newer, which brings it.", needed=False)
    elif entry.login_files and not _logged_in(entry):
        mend = " or ".join(
            (f"Log in with {info.title} as this user", *(f"set {name}" for name in _credentials(entry)))
        )
        yield Check(f"{info.name} login", False, "none was found on this machine", mend, needed=False)


def _credentials(entry: AgentEntry) -> list[str]:
    """The variables that log an agent in; the address of its model alone does not."""
    return [name for name in entry.inherit_env if not name.endswith("_BASE_URL")]


def _logged_in(entry: AgentEntry) -> bool:
    files = (Path(file).expanduser() for file in entry.login_files)
    return any(os.environ.get(name) for name in _credentials(entry)) or any(file.is_file() for file in files)


def _gateway(caller: Caller) -> list[Check]:
    """Whether a gateway runs, and takes the token. Neither is needed to start one."""
    from clawdforge.client.forge import Forge

    try:
        with Forge(base_url=caller.place(), token=caller.app_token()) as forge:
            health = forge.healthz()
            checks = [Check("gateway", True, f"{forge.base_url}, version {health.get('version')}")]
            try:
                forge.agents()
                checks.append(Check("token", True, "taken by the gateway", needed=False))
            except ForgeAuthError as error:
                mend = "export CLAWDFORGE_TOKEN=$(clawdforge token mint NAME)"
                checks.append(Check("token", False, error.reason, mend, needed=False))
            return checks
    except (ForgeError, ValueError) as error:
        said = failures.from_error(error, caller.place() or "").message
        return [Check("gateway", False, said, "clawdforge serve", needed=False)]
