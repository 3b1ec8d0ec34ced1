"""The public names of the SDK, grouped by the room they come from; Sphinx reads their docstrings."""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import Any, Final, Literal, get_origin

import clawdforge
from clawdforge import testing

GROUPS: Final = (  # the first room that holds a name is its group's
    ("clawdforge.client.events", "Events"),
    ("clawdforge.client", "Forge, sessions, streams"),
    ("clawdforge.wire", "Answers"),
    ("clawdforge.errors", "Errors"),
    ("clawdforge.testing", "Testing"),
)
TWINS: Final = "For asyncio"
ORDER: Final = ("Forge, sessions, streams", "Answers", "Events", "Errors", TWINS, "Testing")


def page() -> str:
    """A heading for each group, with its names in the order of the alphabet."""
    groups: dict[str, list[str]] = {title: [] for title in ORDER}
    for module in (clawdforge, testing):
        for name in module.__all__:
            value = getattr(module, name)
            if not isinstance(value, str | ModuleType):
                group = TWINS if name.startswith("Async") else _group(value)
                groups[group].append(_directive(f"{module.__name__}.{name}", value))
    parts = ["\n"]
    for title, directives in groups.items():
        parts += [f"## {title}", "```{eval-rst}", *directives, "```", ""]
    return "\n".join(parts)


def _group(value: Any) -> str:
    if get_origin(value) is Literal:
        return "Answers"  # words of the contract; they know nothing of their room
    return next(title for room, title in GROUPS if f"{value.__module__}.".startswith(f"{room}."))


def _directive(name: str, value: Any) -> str:
    if get_origin(value) is Literal:
        return f".. autodata:: {name}\n   :no-value:\n"
    if not inspect.isclass(value):
        return f".. autofunction:: {name}\n"
    if issubclass(value, Exception):
        return f".. autoexception:: {name}\n   :members:\n   :exclude-members: __init__\n   :show-inheritance:\n"
    words = f".. autoclass:: {name}\n   :members:\n   :inherited-members: dict\n   :undoc-members:\n"
    made_by_callers = "\n    Args:\n" in (value.__doc__ or "")
    return f"{words}   :exclude-members: __new__{'' if made_by_callers else ', __init__'}\n"
