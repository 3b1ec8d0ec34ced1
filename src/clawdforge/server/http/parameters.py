"""What callers may send beside JSON: parameters of the query, headers, fields of forms, as the document tells it.

The endpoints read them for themselves; nothing here does.
"""

from __future__ import annotations

from typing import Any, Final

from clawdforge.server.http import diffs, events, idempotency, usage, workspace
from clawdforge.server.http.route import Parameter

_CURSOR: Final = Parameter("cursor", {"type": "string"}, "the `next_cursor` of the page before")
SESSIONS: Final = (
    Parameter("include_closed", {"type": "boolean", "default": True}),
    Parameter("limit", {"type": "integer", "minimum": 1, "maximum": 200}, "without it, all of them"),
    _CURSOR,
)
RUNS: Final = (
    Parameter("limit", {"type": "integer", "minimum": 1, "maximum": 200, "default": 200}),
    _CURSOR,
)
_TIME: Final = {"type": "integer", "minimum": 0, "maximum": usage.TIMES[-1]}
USAGE: Final = (
    Parameter("since", _TIME, "epoch seconds: turns that began then or later"),
    Parameter("until", _TIME, "epoch seconds: turns that began before"),
    Parameter("by", {"type": "string", "enum": list(usage.GROUPINGS)}, "without it, one total"),
)
DIFF: Final = (
    Parameter("turn", {"type": "integer", "minimum": 1, "maximum": diffs.TURNS[-1]}, "without it, the last"),
)
EVENTS: Final = (
    Parameter("after", {"type": "integer", "minimum": 0, "maximum": events.PLACES[-1], "default": 0}),
    Parameter("limit", {"type": "integer", "minimum": 1, "maximum": events.LIMITS[-1]}, "of a page"),
    Parameter("wait", {"type": "integer", "minimum": 0, "maximum": events.WAITS_S[-1]}, "seconds, for a page"),
    Parameter("Last-Event-ID", {"type": "string"}, "of a stream: where it goes on", place="header"),
)
KEY: Final = Parameter(
    "Idempotency-Key",
    {"type": "string", "minLength": 1, "maxLength": idempotency.KEY_LIMIT_CHARS},
    "the same call again does nothing again, and is answered as the first one was",
    place="header",
)
FORMS: Final = (
    Parameter("Prefer", {"type": "string"}, "`respond-async`: 202 once the turn is stored", place="header"),
)
TREE: Final = (
    Parameter("path", {"type": "string"}, "of the directory; without it, the workspace itself"),
    Parameter("recursive", {"type": "boolean", "default": False}, "also what lies below"),
    Parameter(
        "limit",
        {
            "type": "integer",
            "minimum": 1,
            "maximum": workspace.LIMITS[-1],
            "default": workspace.DEFAULT_LIMIT,
        },
    ),
    _CURSOR,
)
CONDITIONS: Final = (
    Parameter("If-Match", {"type": "string"}, "entity tags, one of which must be the file's", place="header"),
    Parameter("If-None-Match", {"type": "string"}, "entity tags that must not be the file's", place="header"),
)
REMOVAL: Final = (Parameter("recursive", {"type": "boolean", "default": False}), *CONDITIONS)
PARTS: Final = (
    Parameter("Range", {"type": "string"}, "one range of bytes", place="header"),
    Parameter("If-Range", {"type": "string"}, "the entity tag of which it is a range", place="header"),
)
UPLOAD: Final[dict[str, Any]] = {
    "ttl_secs": {"type": "integer", "minimum": 60, "maximum": 86_400, "default": 3_600}
}
