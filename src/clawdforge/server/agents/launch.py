"""From a catalog entry and a caller's options to a command line, an environment and files.

What an agent must know before it starts is settled here; what it can be told over ACP, in `acp`. Blocking (it
writes small files): call it from a thread.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from clawdforge.server.agents import aiming, programs, reach, redact, ways
from clawdforge.server.agents.entry import AgentEntry, LoginChoice
from clawdforge.server.agents.homes import AgentHome
from clawdforge.server.sandbox.base import AGENT_HOME, AGENT_WORKSPACE, Network, Space, View, Wall
from clawdforge.server.sandbox.endpoint import Endpoint
from clawdforge.server.sandbox.relay import Relay
from clawdforge.wire.agents import AgentOptions
from clawdforge.wire.problems import Problem, invalid

_PASSED_ON: Final = ("PATH", "LANG", "TZ", "TERM")
_ARGUMENT_LIMIT_BYTES: Final = 120 * 1024
"""Linux takes 128 KiB for one argument, its own name and quotes included."""
_SECRET_MIN_CHARS: Final = 8


@dataclass(frozen=True, slots=True)
class Launch:
    """How an agent is to be started: what, with what of this machine, and how it sees that."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)
    space: Space
    view: View
    secrets: frozenset[str] = field(default=frozenset(), repr=False)
    endpoint: Endpoint | None = None
    """Where the gateway must lead it, because it reaches nothing by itself."""
    relay: Relay | None = None
    """The way there, once it is open; ends with the agent."""


def visible(entry: AgentEntry, argv: tuple[str, ...], data_dir: Path, wall: Wall) -> tuple[Path, ...]:
    """What of this machine must be in an agent's sight so that it can run; nothing where it sees everything.

    Raises:
        programs.CannotBeShown: that cannot be, or agents may not run it.
    """
    seen = () if wall.level == "none" else programs.consists_of(argv, entry.readable, data_dir)
    if wall.level == "bwrap":
        reach.check_places(seen, (AGENT_WORKSPACE, AGENT_HOME))
    if wall.agent_uid is not None:
        reach.check_way(argv, seen, wall.agent_uid, bound=wall.level == "bwrap")
    return seen


def check_options(entry: AgentEntry, options: AgentOptions) -> None:
    """Refuses what this agent has no way to take.

    Raises:
        Problem: `invalid`, naming the field.
    """
    if options.model is not None and entry.model is None:
        raise invalid(f"the agent {entry.name!r} does not take a model", "model")
    if options.effort is not None and options.effort not in entry.efforts:
        known = f"it knows {', '.join(entry.efforts)}" if entry.efforts else "it takes none"
        raise invalid(f"the agent {entry.name!r} cannot take the effort {options.effort!r}: {known}", "effort")
    if options.system is None and options.system_mode == "replace":
        raise invalid("system_mode asks to replace the system prompt, and there is no other", "system_mode")
    if options.system_mode == "replace" and entry.system_replace is None:
        raise invalid(
            f"the agent {entry.name!r} can be given more instructions, not others: "
            "its system prompt cannot be replaced",
            "system_mode",
        )
    if options.system is not None and isinstance(system_way(entry, options), ways.Arguments):
        size = len(_quoted(options.system).encode())
        if size > _ARGUMENT_LIMIT_BYTES:
            raise invalid(
                f"the agent {entry.name!r} takes its system prompt on its command line, "
                f"which has room for {_ARGUMENT_LIMIT_BYTES} bytes: this one has {size}",
                "system",
            )


def system_way(entry: AgentEntry, options: AgentOptions) -> ways.Way | None:
    """How the caller's system prompt reaches the agent; None where there is none."""
    if options.system is None:
        return None
    return entry.system_replace if options.system_mode == "replace" else entry.system


def prepare(
    entry: AgentEntry,
    argv: tuple[str, ...],
    options: AgentOptions,
    home: AgentHome,
    workspace: Path,
    wall: Wall,
    network: Network,
    environ: Mapping[str, str] = os.environ,
) -> Launch:
    """Makes the agent's home and says how to start it.

    The environment is built from nothing: what is not passed on by name does not reach the agent. Where its home
    and its temporary files are is the wall's matter.

    Raises:
        Problem: `agent_unavailable`: it is told to look for its model where none can be, or its program cannot be
            shown to it.
    """
    try:
        seen = visible(entry, argv, home.data_dir, wall)
    except programs.CannotBeShown as problem:
        raise Problem("agent_unavailable", f"the agent {entry.name!r} cannot run here: {problem}") from problem
    home.prepare(entry.login_files, entry.home_files, entry.resets, entry.keeps)
    space = Space(workspace, home.path, home.tmp, seen, network=network)
    view = wall.view(space)
    inherited = {name: environ[name] for name in entry.inherit_env if name in environ}
    env = {name: environ[name] for name in _PASSED_ON if name in environ}
    if wall.level != "none":
        env["PATH"] = programs.path_inside(env.get("PATH", ""), seen)
    env |= {**inherited, **entry.env}
    for name in entry.file_env:
        if name in env and (copy := home.bring(name, env[name])) is not None:
            env[name] = view.there(copy)
    if entry.login_choice is not None:
        env = {**_chosen_login(entry.login_choice, env, home), **env}
    aim = _aim(entry, env, network)
    asked = (
        (aim.told, aim.way, "base_url"),
        (options.model or entry.default_model, entry.model, "model"),
        (options.effort, entry.effort, "effort"),
        (options.system, system_way(entry, options), "system"),
    )
    for value, way, name in asked:
        if value is not None and way is not None:
            argv, env = _carried(way, name, value, argv, env, home, view)
    secrets = _secrets(inherited | dict(entry.env)).union(*map(redact.tokens, home.logins()))
    return Launch(argv, env, space, view, secrets, aim.endpoint)


async def led(launch: Launch, door: Path, agent_uid: int | None) -> Launch:
    """Opens the agent's way to its model, where it needs one.

    Args:
        launch: as prepared.
        door: a path for the socket that the way needs until the agent has started.
        agent_uid: who it will be; None: the gateway's own user.

    Raises:
        OSError: there can be no socket there.
    """
    if launch.endpoint is None:
        return launch
    relay = await Relay.open(launch.endpoint, door, agent_uid)
    argv, space = relay.through_door(launch.argv, launch.space)
    return replace(launch, argv=argv, space=space, relay=relay)


def how_to_log_in(entry: AgentEntry) -> str:
    """What a person does so that an agent which wants a login has one the next time that it starts."""
    ways_in = []
    if entry.login_files:
        ways_in.append(f"log in with it on the gateway's machine ({', '.join(entry.login_files)})")
    if keys := [name for name in entry.inherit_env if redact.names_a_secret(name)]:
        ways_in.append(f"set {' or '.join(keys)} in the gateway's environment")
    if not ways_in:
        ways_in.append(f"give it its key in the settings: [agents.{entry.name}] env or inherit_env")
    return ", or ".join(ways_in)


def _chosen_login(choice: LoginChoice, env: Mapping[str, str], home: AgentHome) -> dict[str, str]:
    """What tells the agent by which of its logins to work; nothing where there is none."""
    for name, told in choice.logins:
        if env.get(name) or home.holds(name):
            return {choice.variable: told}
    return {}


def _aim(entry: AgentEntry, env: Mapping[str, str], network: Network) -> aiming.Aim:
    try:
        return aiming.aim(entry, env, network)
    except ValueError as error:
        raise Problem("agent_unavailable", f"the agent {entry.name!r} cannot run here: {error}") from None


def _carried(
    way: ways.Way,
    name: str,
    value: str,
    argv: tuple[str, ...],
    env: dict[str, str],
    home: AgentHome,
    view: View,
) -> tuple[tuple[str, ...], dict[str, str]]:
    match way:
        case ways.Arguments(template):
            return (*argv, *(word.replace("{value}", _quoted(value)) for word in template)), env
        case ways.FileArguments(template):
            path = view.there(home.write_tmp(f"{name}.md", value))
            return (*argv, *(word.replace("{path}", path) for word in template)), env
        case ways.Variable(variable):
            return argv, {**env, variable: value}
        case ways.FileVariable(variable):
            return argv, {**env, variable: view.there(home.write_tmp(f"{name}.md", value))}
        case _:  # told over ACP, once the agent has started
            return argv, env


def _quoted(value: str) -> str:
    """A string as JSON and TOML both write it."""
    return json.dumps(value, ensure_ascii=False)


def _secrets(variables: Mapping[str, str]) -> frozenset[str]:
    """Values that must not be seen: those of variables that are named like secrets."""
    return frozenset(
        value
        for name, value in variables.items()
        if len(value) >= _SECRET_MIN_CHARS and redact.names_a_secret(name)
    )
