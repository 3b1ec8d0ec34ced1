"""Bounds that a request field promises to keep, as annotations.

The SDK installs without pydantic, so the wire types cannot use its `Field`. Pydantic, on the gateway's side,
asks an annotation for its schema and takes a plain dict: that is all these two classes are. They must not
check anything by themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Range:
    """A number from `lo` to `hi`, both included."""

    lo: int
    hi: int

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], dict[str, Any]]) -> Any:
        return {**handler(source), "ge": self.lo, "le": self.hi}


@dataclass(frozen=True, slots=True)
class Length:
    """A text of `lo` to `hi` characters, or an array of so many items, both included."""

    lo: int
    hi: int | None = None

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], dict[str, Any]]) -> Any:
        bounded = {**handler(source), "min_length": self.lo}
        return bounded if self.hi is None else {**bounded, "max_length": self.hi}
