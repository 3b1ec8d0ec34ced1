"""The settings of a gateway, with what stands beside them in `server/settings.py`."""

from __future__ import annotations

import json
from pathlib import PurePath
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from sphinx.pycode import ModuleAnalyzer

from clawdforge.server import settings


def page() -> str:
    """A table of the gateway's settings, then those of an agent's entry."""
    told = ModuleAnalyzer.for_module(settings.__name__).find_attr_docs()
    parts = [_table(settings.Settings, told, prefix="CLAWDFORGE_")]
    for kind, heading in (
        (settings.AgentSettings, "## `[agents.NAME]`"),
        (settings.ScriptedSettings, "## `[agents.NAME.scripted]`"),
    ):
        parts += [heading, (kind.__doc__ or "").strip(), _table(kind, told)]
    return "\n\n" + "\n\n".join(parts) + "\n"


def _table(kind: type[BaseModel], told: dict[tuple[str, str], list[str]], prefix: str = "") -> str:
    rows = ["| setting | default | what it is |", "|---|---|---|"]
    for name, field in kind.model_fields.items():
        names = f"`{name}`" + (f"<br>`{prefix}{name.upper()}`" if prefix else "")
        words = " ".join(line.strip() for line in told.get((kind.__name__, name), []) if line.strip())
        rows.append(f"| {names} | {_default(field)} | {'; '.join(filter(None, (words, _bounds(field))))} |")
    return "\n".join(rows)


def _default(field: FieldInfo) -> str:
    value = field.default
    if field.default_factory is not None or value is PydanticUndefined:
        return "see beside"
    if isinstance(value, PurePath):
        value = str(value)
    return "–" if value is None else f"`{json.dumps(value)}`"


def _bounds(field: FieldInfo) -> str:
    kind: Any = field.annotation
    choices = [value for value in get_args(kind) if isinstance(value, str)]
    if choices:
        return "one of " + ", ".join(f"`{each}`" for each in choices)
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    found = [
        f"{word} {value}"
        for constraint in field.metadata
        for name, word in words.items()
        if (value := getattr(constraint, name, None)) is not None
    ]
    return ", ".join(found)
