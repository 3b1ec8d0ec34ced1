"""Calls to a gateway without the SDK, on one connection: what is looked at is the wire."""

from __future__ import annotations

import json
from typing import Any

from clawdforge.wire import sse
from harness import http as plain


class Answer(plain.Answer):
    """A whole answer, and the events of one that was a stream."""

    def events(self) -> list[dict[str, Any]]:
        """Those of a stream; `id` and `event` are checked against them."""
        frames = list(sse.Decoder().feed(self.raw))
        events = [json.loads(each.data) for each in frames]
        assert [(each.id, each.event) for each in frames] == [(str(e["seq"]), e["type"]) for e in events]
        return events


class Caller:
    """Calls a gateway on one connection, as an app."""

    def __init__(self, url: str, token: str) -> None:
        self._token = token
        self.connection = plain.connect(url)

    def __call__(
        self, method: str, path: str, body: Any = None, *, token: str | None = None, **headers: str
    ) -> Answer:
        self.send(method, path, body, token=token, **headers)
        return self.receive()

    def send(self, method: str, path: str, body: Any = None, *, token: str | None = None, **headers: str) -> None:
        """Headers by their names, `_` for each `-`; a body that is no bytes goes as JSON."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        sent.setdefault("Authorization", f"Bearer {token or self._token}")
        if body is not None and not isinstance(body, bytes):
            sent.setdefault("Content-Type", "application/json")
            body = json.dumps(body).encode()
        self.connection.request(method, path, body, sent)

    def receive(self) -> Answer:
        answer = plain.receive(self.connection)
        return Answer(answer.status, answer.headers, answer.raw)

    def session(self, **options: Any) -> str:
        """The path of a new session."""
        return f"/sessions/{self('POST', '/sessions', options).body['session_id']}"

    def turn(self, session: str, prompt: str = "hi", **options: Any) -> Answer:
        return self("POST", f"{session}/turn", {"prompt": prompt, **options})

    def streamed(self, session: str, prompt: str = "hi", **options: Any) -> list[dict[str, Any]]:
        asked = {"prompt": prompt, **options}
        return self("POST", f"{session}/turn", asked, Accept=sse.MEDIA_TYPE).events()

    def until(self, session: str, type_: str, **fields: Any) -> None:
        """Waits for an event of a session, from its first on."""
        wanted, after = {"type": type_, **fields}, 0
        while True:
            page = self("GET", f"{session}/events?after={after}&wait=20").body
            assert page["events"], f"no {wanted} came"
            if any(wanted.items() <= each.items() for each in page["events"]):
                return
            after = page["next_after"]

    def close(self) -> None:
        self.connection.close()
