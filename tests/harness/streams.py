"""A reader of a stream of events over a plain socket: it reads when it is told to, and not before."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Self

from clawdforge import Forge
from clawdforge.wire.sse import MEDIA_TYPE, Decoder
from harness import http as plain
from harness.http import Answer

READ_BYTES = 1 << 16


class Stream:
    """One open stream, of a session or of what a POST asks. Every wait has the deadline of `harness.http`.

    Attributes:
        decoder: what has been read so far.
        raw: the bytes of it, comments and all, without HTTP's chunks.
    """

    def __init__(
        self,
        app: Forge,
        session_id: str = "",
        *,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        post: str | None = None,
        body: Any = None,
    ) -> None:
        self.decoder = Decoder()
        self.raw = b""
        self._connection = plain.connect(app.base_url)
        head = {"Accept": MEDIA_TYPE, **(headers or {})}
        method, path = ("GET", f"/sessions/{session_id}/events{query}") if post is None else ("POST", post)
        plain.send(self._connection, method, path, token=app._config.token, body=body, headers=head)
        self.response: http.client.HTTPResponse = self._connection.getresponse()

    @property
    def headers(self) -> dict[str, str]:
        """Of the answer, their names in lower case."""
        return {name.lower(): value for name, value in self.response.getheaders()}

    def refused(self) -> tuple[int, str]:
        """Status and code, where it is no stream."""
        found = Answer(self.response.status, self.headers, self.response.read()).problem()
        self.close()
        return found

    def events(self) -> Iterator[dict[str, Any]]:
        """Events as they come, until the stream ends; `id` and `event` are checked against them."""
        assert self.response.status == 200, self.response.read()
        while data := self.response.read1(READ_BYTES):
            self.raw += data
            for frame in self.decoder.feed(data):
                event = json.loads(frame.data)
                assert (frame.id, frame.event) == (str(event["seq"]), event["type"])
                yield event

    def until(self, type_: str) -> list[dict[str, Any]]:
        """The events up to the first of a type."""
        seen = []
        for event in self.events():
            seen.append(event)
            if event["type"] == type_:
                return seen
        raise AssertionError(f"the stream ended before {type_}: {seen}")

    def more(self) -> bytes:
        """Whatever comes next; nothing where the stream ends."""
        return self.response.read1(READ_BYTES)

    def rest_bytes(self) -> int:
        """How much still comes, until the stream ends or its connection is cut."""
        count = 0
        with suppress(http.client.IncompleteRead, ConnectionResetError):
            while data := self.response.read1(READ_BYTES):
                count += len(data)
        return count

    def close(self) -> None:
        """Hangs up."""
        self.response.close()
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def page(app: Forge, session_id: str, query: str = "") -> Answer:
    """One page of a session's events."""
    return plain.ask(app, "GET", f"/sessions/{session_id}/events{query}")
