"""An app that answers what its agents ask, by HTTP alone."""

from __future__ import annotations

import json
from typing import Any

from clawdforge import Forge
from harness.gateway import until
from harness.http import Answer, ask

Row = dict[str, Any]


def waiting(app: Forge, session_id: str) -> list[Row]:
    """The requests of a session or run that wait for an answer."""
    answer = ask(app, "GET", f"/sessions/{session_id}/permissions")
    assert answer.status == 200, answer.raw
    assert answer.body["count"] == len(answer.body["permissions"])
    found: list[Row] = answer.body["permissions"]
    return found


def until_asked(app: Forge, session_id: str, count: int = 1) -> list[Row]:
    """Waits until so many requests wait for an answer, and returns them."""
    found: list[Row] = []

    def asked() -> bool:
        found[:] = waiting(app, session_id)
        return len(found) >= count

    until(asked, f"{count} permission requests of {session_id}")
    return found


def reply(app: Forge, session_id: str, permission_id: str, **body: Any) -> Answer:
    """Answers a request."""
    return ask(app, "POST", f"/sessions/{session_id}/permissions/{permission_id}", body)


def questions_and_answers(events: list[Row]) -> list[tuple[str, Any, Any]]:
    """The permission events, as they are told to apps, in short: what it was, and what was decided by whom."""
    return [
        (event["type"].removeprefix("permission_"), event.get("decision"), event.get("by"))
        for event in events
        if event["type"].startswith("permission_")
    ]


def outcomes(text: str) -> Any:
    """What the scripted agent says it was answered: one outcome, or a list of them."""
    return json.loads(text.partition(": ")[2])
