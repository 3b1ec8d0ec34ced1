"""Calls to a gateway without the SDK, on one connection: what is looked at is the wire."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from clawdforge.wire import sse


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    raw: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.raw)

    @property
    def problem(self) -> tuple[int, str]:
        """Status and code of an error, its body checked against the contract."""
        assert self.body["detail"] and self.body["request_id"] == self.headers["X-Request-Id"]
        return self.status, self.body["code"]

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
        parts = urlsplit(url)
        self.connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)

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
        response = self.connection.getresponse()
        return Answer(response.status, dict(response.headers), response.read())

    def session(self, **options: Any) -> str:
        """The path of a new session."""
        return f"/sessions/{self('POST', '/sessions', options).body['session_id']}"

    def turn(self, session: str, prompt: str = "hi", **options: Any) -> Answer:
        return self("POST", f"{session}/turn", {"prompt": prompt, **options})

    def streamed(self, session: str, prompt: str = "hi", **options: Any) -> list[dict[str, Any]]:
        asked = {"prompt": prompt, **options}
        return self("POST", f"{session}/turn", asked, Accept=sse.MEDIA_TYPE).events()

    def close(self) -> None:
        self.connection.close()
