"""Wire values as encoded answers: the one way in which a route's value becomes a body."""

from __future__ import annotations

import json
from typing import Any, Final

from clawdforge.server.http.problems import Answer, Headers
from clawdforge.wire import codec

# `default` is asked only for what JSON has no word for: the wire values that a page holds.
_text: Final = json.JSONEncoder(
    ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=codec.to_json
).encode


def of(value: Any, headers: Headers = ()) -> Answer:
    """The 200 whose body is this wire value, the wire values in its lists included."""
    return Answer(_text(codec.to_json(value)).encode(), headers=headers)
