"""Where the models of the agents are, and how an agent is told of another place: data, and one choice. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from clawdforge.server.agents.ways import Arguments, Variable
from clawdforge.server.sandbox.base import Network
from clawdforge.server.sandbox.endpoint import Endpoint

if TYPE_CHECKING:
    from clawdforge.server.agents.catalog import AgentEntry

PLACE: Final = "{base_url}"
"""Stands, in an entry's command line, environment and files, for the base URL that the agent is told."""


@dataclass(frozen=True, slots=True)
class ModelEndpoint:
    """Where an agent finds its model if it is told nothing.

    Attributes:
        base_url: there.
        way: how it is told of another place.
        login: the one of its logins (`LoginChoice`) with which it goes there; None: with any.
    """

    base_url: str
    way: Arguments | Variable
    login: str | None = None


CLAUDE: Final = (ModelEndpoint("https://api.anthropic.com", Variable("ANTHROPIC_BASE_URL")),)
CODEX: Final = (ModelEndpoint("https://api.openai.com/v1", Arguments(("-c", "openai_base_url={value}"))),)
GEMINI: Final = (
    ModelEndpoint(
        "https://generativelanguage.googleapis.com", Variable("GOOGLE_GEMINI_BASE_URL"), login="gemini-api-key"
    ),
    ModelEndpoint("https://aiplatform.googleapis.com", Variable("GOOGLE_VERTEX_BASE_URL"), login="vertex-ai"),
)


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

    return dataclasses.replace(
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


def checked(name: str, base_url: str | None) -> str | None:
    """The base URL that the settings give an agent.

    Raises:
        ValueError: it is none.
    """
    try:
        if base_url is not None:
            Endpoint.at(base_url)
    except ValueError as error:
        raise ValueError(f"[agents.{name}] base_url: {error}") from None
    return base_url


def _told(base_url: str, network: Network) -> str:
    return base_url if network == "open" else Endpoint.at(base_url).behind_door
