"""Prompts over plain HTTP, in each way to ask: a caller waits, follows the events, or comes back later."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

from clawdforge import Forge
from clawdforge.wire.sse import MEDIA_TYPE, Decoder
from harness import http
from harness.gateway import until
from harness.http import Answer, ask
from harness.streams import Stream

Row = dict[str, Any]

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


def keyed(key: str | None, headers: Mapping[str, str] | None = None) -> dict[str, str]:
    """These headers, and a key's."""
    return {**(headers or {}), **({} if key is None else {"Idempotency-Key": key})}


def turn(app: Forge, session_id: str, prompt: str, *, key: str | None = None, **body: Any) -> Answer:
    """A turn, waited for."""
    return ask(app, "POST", f"/sessions/{session_id}/turn", {"prompt": prompt, **body}, keyed(key))


def run(app: Forge, prompt: str, *, key: str | None = None, **body: Any) -> Answer:
    """A run of the scripted agent, waited for."""
    return ask(app, "POST", "/run", {"prompt": prompt, "agent": "fake", **body}, keyed(key))


def turn_later(app: Forge, session_id: str, prompt: str, *, key: str | None = None, **body: Any) -> Answer:
    """A turn that is not waited for."""
    path = f"/sessions/{session_id}/turn"
    return ask(app, "POST", path, {"prompt": prompt, **body}, keyed(key, DETACHED))


def run_later(app: Forge, prompt: str, *, key: str | None = None, **body: Any) -> Answer:
    """A run that is not waited for."""
    return ask(app, "POST", "/run", {"prompt": prompt, "agent": "fake", **body}, keyed(key, DETACHED))


def turn_streamed(app: Forge, session_id: str, prompt: str, *, key: str | None = None, **body: Any) -> Stream:
    """A turn, as its events come."""
    path = f"/sessions/{session_id}/turn"
    return Stream(app, post=path, body={"prompt": prompt, **body}, headers=keyed(key))


def run_streamed(app: Forge, prompt: str, *, key: str | None = None, **body: Any) -> Stream:
    """A run, as its events come."""
    return Stream(app, post="/run", body={"prompt": prompt, "agent": "fake", **body}, headers=keyed(key))


def accepted(answer: Answer) -> int:
    """The number of a turn that was accepted and is not waited for."""
    assert answer.status == 202, answer.raw
    index: int = answer.body["turn_index"]
    return index


def cancel(app: Forge, session_id: str, turn_index: int | None = None, *, key: str | None = None) -> Answer:
    """Asks for a turn's end."""
    body = None if turn_index is None else {"turn_index": turn_index}
    return ask(app, "POST", f"/sessions/{session_id}/cancel", body, keyed(key))


def statuses(app: Forge, session_id: str) -> list[tuple[str, str | None]]:
    """Status and stop reason of a session's turns, oldest first."""
    rows = ask(app, "GET", f"/sessions/{session_id}/turns").body["turns"]
    return [(row["status"], row["stop_reason"]) for row in reversed(rows)]


def running(pool: ThreadPoolExecutor, app: Forge, session_id: str, prompt: str, **more: Any) -> Future[Answer]:
    """A turn that somebody else waits for; its agent has the prompt when this returns."""
    index = ask(app, "GET", f"/sessions/{session_id}").body["turn_count"] + 1
    future = pool.submit(turn, app, session_id, prompt, **more)
    until_running(app, session_id, index)
    return future


def until_running(app: Forge, session_id: str, turn_index: int) -> None:
    """Waits until a turn has begun."""

    def begun() -> bool:
        found = ask(app, "GET", f"/sessions/{session_id}/turns/{turn_index}")
        return found.status == 200 and found.body["status"] != "queued"

    until(begun, f"turn {turn_index} of {session_id} to begin")


def text(events: list[Row]) -> str:
    """What the agent said."""
    return "".join(event["content"] for event in events if event["type"] == "text")
