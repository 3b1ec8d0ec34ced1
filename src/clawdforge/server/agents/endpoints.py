"""Where the models of the agents are, and how an agent is told of another place: data. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from clawdforge.server.agents.ways import Arguments, Variable
from clawdforge.server.sandbox.endpoint import Endpoint

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
