"""The settings of a gateway, with what stands beside them in `server/settings.py`."""

from __future__ import annotations

import json
import re
from typing import Any, Final, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from sphinx.pycode import ModuleAnalyzer

from clawdforge.server import settings

KIB: Final = 1024


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
        words = " ".join(told.get((kind.__name__, name), [])).strip()
        words = re.sub(r"docs/(\w+)\.md", r"[\1](../\1.md)", words)
        rows.append(f"| {names} | {_default(name, field)} | {'; '.join(filter(None, (words, _bounds(field))))} |")
    return "\n".join(rows)


def _default(name: str, field: FieldInfo) -> str:
    if field.default is None or field.default_factory is not None:
        return "–"
    if name.endswith("_bytes") and field.default >= KIB:
        power = next(power for power in (3, 2, 1) if field.default >= KIB**power)
        return f"{field.default // KIB**power} {'KMG'[power - 1]}iB"
    return f"`{json.dumps(field.default)}`"


def _bounds(field: FieldInfo) -> str:
    kind: Any = field.annotation
    choices = [value for value in get_args(kind) if isinstance(value, str)]
    if choices:
        return "one of " + ", ".join(f"`{each}`" for each in choices)
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    bounds = [(word, getattr(each, name, None)) for each in field.metadata for name, word in words.items()]
    return ", ".join(f"{word} {bound}" for word, bound in bounds if bound)  # none is negative, without a word
