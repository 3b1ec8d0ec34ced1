"""HTTP without the SDK, for what it would hide: any method, any body, the whole answer."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from clawdforge import Forge

HTTPException = http.client.HTTPException
DEADLINE_S = 60


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    raw: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.raw)

    def problem(self) -> tuple[int, str]:
        """Status and code of an error, its body checked against the contract."""
        body = self.body
        assert isinstance(body["detail"], str) and body["detail"], body
        assert body["request_id"] == self.headers["x-request-id"]
        return self.status, body["code"]


def ask(app: Forge, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
    """One request with an app's token."""
    return call(app.base_url, method, path, token=app._config.token, body=body, headers=headers)


def call(
    url: str,
    method: str,
    path: str,
    *,
    token: str | None = None,
    body: Any = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """One request on a connection of its own; a body is sent as JSON."""
    connection = connect(url)
    try:
        send(connection, method, path, token=token, body=body, headers=headers)
        return receive(connection)
    finally:
        connection.close()


def connect(url: str) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=DEADLINE_S)


def send(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    *,
    token: str | None = None,
    body: Any = None,
    headers: Mapping[str, str] | None = None,
) -> None:
    sent = dict(headers or {})
    if token is not None:
        sent["Authorization"] = f"Bearer {token}"
    if body is not None:
        sent["Content-Type"] = "application/json"
    connection.request(method, path, None if body is None else json.dumps(body).encode(), sent)


def receive(connection: http.client.HTTPConnection) -> Answer:
    response = connection.getresponse()
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, headers, response.read())
