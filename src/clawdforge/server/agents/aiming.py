"""Where an agent's requests go, and what it is told of that: chosen from its entry in the catalog. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from clawdforge.server.agents.endpoints import PLACE
from clawdforge.server.agents.entry import AgentEntry
from clawdforge.server.agents.ways import Arguments, Variable
from clawdforge.server.sandbox.base import Network
from clawdforge.server.sandbox.endpoint import Endpoint


@dataclass(frozen=True, slots=True)
class Aim:
    """Where an agent's requests go.

    Attributes:
        told: the base URL that it must be told; None where it knows by itself.
        way: how; None where its entry says so in its own words, or nobody knows.
        endpoint: where the gateway must lead it, because it reaches nothing by itself; else None.
    """

    told: str | None = None
    way: Arguments | Variable | None = None
    endpoint: Endpoint | None = None


def placed(entry: AgentEntry, network: Network) -> AgentEntry:
    """The entry with the base URL of its settings in its place, as the agent knows it. Without one, as it is."""
    if entry.base_url is None:
        return entry
    told = _told(entry.base_url, network)

    def each(texts: Mapping[str, str]) -> dict[str, str]:
        return {name: text.replace(PLACE, told) for name, text in texts.items()}

    return replace(
        entry,
        argv=tuple(word.replace(PLACE, told) for word in entry.argv),
        env=each(entry.env),
        home_files=each(entry.home_files),
    )


def aim(entry: AgentEntry, env: Mapping[str, str], network: Network) -> Aim:
    """Where an agent with this environment goes.

    Args:
        entry: of the catalog.
        env: what it is started with; says by which of its logins it works.
        network: what it reaches by itself.

    Raises:
        ValueError: it is named a base URL that is none.
    """
    login = None if entry.login_choice is None else env.get(entry.login_choice.variable)
    known = next((each for each in entry.endpoints if each.login in (None, login)), None)
    way = None if known is None else known.way
    base_url = entry.base_url
    if network == "none" and known is not None and base_url is None:
        base_url = (isinstance(way, Variable) and env.get(way.name)) or known.base_url
    if base_url is None:
        return Aim()
    return Aim(_told(base_url, network), way, Endpoint.at(base_url) if network == "none" else None)


def _told(base_url: str, network: Network) -> str:
    return base_url if network == "open" else Endpoint.at(base_url).behind_door
