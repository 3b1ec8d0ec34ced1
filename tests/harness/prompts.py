"""Prompts over plain HTTP, in each way to ask: a caller waits, follows the events, or comes back later."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from clawdforge import Forge
from clawdforge.wire.sse import MEDIA_TYPE, Decoder
from harness import http
from harness.gateway import until
from harness.http import Answer

STREAMED: Final = {"Accept": MEDIA_TYPE}
DETACHED: Final = {"Prefer": "respond-async"}


def post(app: Forge, path: str, body: Any, headers: Mapping[str, str] | None = None) -> Answer:
    """One POST with an app's token; a streamed answer is read to its end."""
    return http.call(app.base_url, "POST", path, token=app._config.token, body=body, headers=headers)


def events_of(answer: Answer) -> list[dict[str, Any]]:
    """The events of a streamed answer."""
    assert (answer.status, answer.headers["content-type"]) == (200, MEDIA_TYPE), answer.raw
    return [json.loads(frame.data) for frame in Decoder().feed(answer.raw)]


def record(app: Forge, session_id: str, turn_index: int) -> dict[str, Any]:
    """A turn's record, as it is now."""
    found = http.ask(app, "GET", f"/sessions/{session_id}/turns/{turn_index}")
    assert found.status == 200, found.raw
    told: dict[str, Any] = found.body
    return told


def ended(app: Forge, session_id: str, turn_index: int) -> dict[str, Any]:
    """A turn's record, once it has ended."""
    until(
        lambda: record(app, session_id, turn_index)["status"] in ("done", "failed"),
        f"turn {turn_index} of {session_id} to end",
    )
    return record(app, session_id, turn_index)
