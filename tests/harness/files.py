"""The files of a workspace through the API, without the SDK: paths go out as they are, answers come back whole."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from clawdforge import Forge
from harness.http import Answer, connect, receive


@dataclass(frozen=True)
class Files:
    """Those of one session or run. Paths are as they stand in a URL."""

    app: Forge
    session_id: str

    def call(
        self, method: str, path: str = "", body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request; `path` begins with `/` or `?`, where it is not empty."""
        with closing(self.open(method, path, body, headers)) as connection:
            return receive(connection)

    def open(
        self, method: str, path: str = "", body: Any = None, headers: Mapping[str, str] | None = None
    ) -> http.client.HTTPConnection:
        """One request whose answer is still to be read."""
        connection = connect(self.app.base_url)
        sent = {"Authorization": f"Bearer {self.app._config.token}", **(headers or {})}
        connection.request(method, f"/sessions/{self.session_id}/files{path}", body, sent)
        return connection

    def put(self, path: str, content: bytes, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        answer = self.call("PUT", path, content, headers)
        assert answer.status == 200, answer.raw
        return dict(answer.body)

    def get(self, path: str) -> bytes:
        answer = self.call("GET", path)
        assert answer.status == 200, answer.raw
        return answer.raw

    def listed(self, query: str = "?recursive=true") -> list[dict[str, Any]]:
        answer = self.call("GET", query)
        assert answer.status == 200, answer.raw
        assert answer.body["count"] == len(answer.body["files"])
        return list(answer.body["files"])

    def paths(self, query: str = "?recursive=true") -> list[str]:
        return [each["path"] for each in self.listed(query)]
