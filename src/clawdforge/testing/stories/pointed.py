"""How a gateway's agent is pointed at the scripted model: settings, by what its catalog entry says about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clawdforge.server.agents.endpoints import PLACE
from clawdforge.server.agents.entry import AgentEntry


class NoWay(Exception):
    """An agent's entry does not say how to point it at a scripted model; the message says which settings would."""


def settings(entry: AgentEntry, argv: Sequence[str], url: str) -> dict[str, Any]:
    """`[agents.NAME]` for a gateway whose agent talks to the endpoint at `url`, without anybody's login or key.

    Args:
        entry: of the catalog, the user's settings included.
        argv: the command line that starts it here.
        url: the endpoint's, without a slash at its end.

    Raises:
        NoWay: the entry does not say how.
    """
    way = entry.scripted
    if way is None and "scripted" in entry.lacks:
        raise NoWay(f"{entry.title} cannot be pointed at a scripted model: {entry.lacks['scripted']}")
    if way is None:
        raise NoWay(
            f"nobody has said yet how to point {entry.title} at a scripted model. Name the variables, arguments "
            f"or files of its home that do it, {{url}} standing for the model's URL: "
            f'[agents.{entry.name}.scripted] env = {{ SOME_BASE_URL = "{{url}}", SOME_API_KEY = "any" }}, '
            'argv = ["…"], home_files = { ".some/config.json" = "…" }'
        )

    def aimed(text: str) -> str:
        return text.replace("{url}", PLACE)

    told: dict[str, Any] = {
        "base_url": url,
        "title": entry.title,
        "argv": [*argv, *map(aimed, way.argv)],
        "env": {name: aimed(value) for name, value in {**entry.env, **way.env}.items()},
        "home_files": {name: aimed(text) for name, text in {**entry.home_files, **way.home_files}.items()},
        "inherit_env": [],
        "login_files": [],
        "ask_mode": entry.ask_mode,
        "model": entry.default_model,
        "usage_counts": entry.usage_counts,
    }
    return {name: value for name, value in told.items() if value is not None}
