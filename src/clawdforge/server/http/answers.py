"""Wire values as encoded answers: the one way in which a route's value becomes a body."""

from __future__ import annotations

from typing import Any

from clawdforge.server.http.problems import Answer, Headers
from clawdforge.wire import codec


def of(value: Any, headers: Headers = ()) -> Answer:
    """The 200 whose body is this wire value, the wire values in its lists included."""
    return Answer(codec.whole(value).encode(), headers=headers)
