"""The parts of the reference that are made of the code itself, as Markdown, when the documentation is built.

`MADE` says which page of `docs/reference` gets what below its own words. Nothing here may start a gateway or reach
the network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from tools.reference import cli, http, python, settings

MADE: Final[Mapping[str, Callable[[], str]]] = {
    "docs/reference/python": python.page,
    "docs/reference/http": http.page,
    "docs/reference/cli": cli.page,
    "docs/reference/settings": settings.page,
}
