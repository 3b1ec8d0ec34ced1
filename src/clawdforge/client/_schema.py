"""Answers as data: what a caller names as `schema` as a JSON Schema, and an answer as an instance of it.

Pure. Loaded, with the modules that it stands on, by calls that have a `schema` and by no others: `_hints` makes
shapes of a type's hints, `_shapes` and `_records` tell these as JSON Schema and read what came.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from clawdforge.client._hints import shape_of
from clawdforge.client._records import Parts
from clawdforge.client._shapes import At
from clawdforge.wire import codec


def json_schema(spec: Any) -> dict[str, Any]:
    """What to send as `schema`.

    Args:
        spec: a JSON Schema, which is only copied; or a dataclass, a TypedDict, a class with pydantic's
            `model_json_schema` and `model_validate`, or another type of `docs/answers-as-data.md`.

    Raises:
        TypeError: it is none of them; of a type the message names the field that cannot be told.
    """
    if isinstance(spec, Mapping):
        try:
            copied: dict[str, Any] = json.loads(codec.text(dict(spec)))
        except (TypeError, ValueError, RecursionError) as error:
            raise TypeError(f"schema: this mapping is no JSON: {error}") from None
        return copied
    try:
        return Parts().schema(shape_of(spec, "schema"))
    except RecursionError:
        raise TypeError("schema: a type is in itself without a class between") from None


def value(spec: Any, data: Any) -> Any:
    """An answer as what was asked for: an instance of the type; with a JSON Schema the answer as it came.

    What an object holds besides is left out, but for that which tells the members of a union apart.

    Raises:
        ValueError: the answer does not fit. The message names the place: `colours[2].name: …`.
        TypeError: as `json_schema`.
    """
    if isinstance(spec, Mapping):
        return data
    try:
        return shape_of(spec, "schema").read(data, At())
    except RecursionError:
        raise ValueError("the answer is nested too deep") from None
