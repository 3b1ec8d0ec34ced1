"""Whether a JSON object has the fields of the contract, each with its type and no other."""

from __future__ import annotations

from collections.abc import Mapping
from types import NoneType
from typing import Any

INT_OR_NULL = (int, NoneType)
STR_OR_NULL = (str, NoneType)

Kind = type | tuple[type, ...]


def fits(body: Mapping[str, Any], shape: Mapping[str, Kind]) -> None:
    """Every field of the shape is there; others may be too. `true` is no integer."""
    for name, kind in shape.items():
        assert name in body, f"{name} is missing in {sorted(body)}"
        kinds = kind if isinstance(kind, tuple) else (kind,)
        assert type(body[name]) in kinds, f"{name} is a {type(body[name]).__name__}"
