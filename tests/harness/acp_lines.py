"""A client that speaks ACP to an agent over two file descriptors, line by line, and waits for nothing for ever."""

from __future__ import annotations

import json
import os
import select
import time
from typing import Any

PATIENCE_S = 60.0


class AcpLines:
    """The client's side. `updates` are the `session/update` parameters so far, in the order in which they came."""

    def __init__(self, source_fd: int, sink_fd: int) -> None:
        self.updates: list[dict[str, Any]] = []
        self._source_fd = source_fd
        self._sink_fd = sink_fd
        self._buffer = b""
        self._answers: dict[Any, dict[str, Any]] = {}
        self._last_id = 0

    def send_line(self, line: bytes) -> None:
        """Sends bytes as they are."""
        left = memoryview(line)
        while left:
            left = left[os.write(self._sink_fd, left) :]

    def notify(self, method: str, **params: Any) -> None:
        self._send({"method": method, "params": params})

    def request(self, method: str, **params: Any) -> int:
        """Sends a request. Returns its id, for `answer`."""
        self._last_id += 1
        self._send({"id": self._last_id, "method": method, "params": params})
        return self._last_id

    def answer(self, request_id: int) -> dict[str, Any]:
        """The whole message that answers a request."""
        while request_id not in self._answers:
            self._take()
        return self._answers.pop(request_id)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of a request; fails on an error."""
        answer = self.answer(self.request(method, **params))
        assert "result" in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def fails(self, method: str, **params: Any) -> dict[str, Any]:
        """The error of a request; fails on a result."""
        answer = self.answer(self.request(method, **params))
        assert "error" in answer, answer
        error: dict[str, Any] = answer["error"]
        return error

    def new(self, **params: Any) -> str:
        """A new session's id."""
        session_id: str = self.call("session/new", cwd="/", mcpServers=[], **params)["sessionId"]
        return session_id

    def start_prompt(self, session_id: str, text: str, **params: Any) -> int:
        """Sends a prompt of one text block. Returns the request's id."""
        blocks = [{"type": "text", "text": text}]
        return self.request("session/prompt", sessionId=session_id, prompt=blocks, **params)

    def prompt(self, session_id: str, text: str, **params: Any) -> tuple[str, dict[str, Any]]:
        """Prompts to the end. Returns the text of the answer, and the result."""
        before = len(self.updates)
        answer = self.answer(self.start_prompt(session_id, text, **params))
        assert "result" in answer, answer
        return self.text(before), answer["result"]

    def text(self, since: int = 0) -> str:
        """The text of the updates from one on."""
        return "".join(each["update"]["content"]["text"] for each in self.updates[since:])

    def until_updates(self, count: int) -> None:
        """Waits until so many updates have come in all."""
        while len(self.updates) < count:
            self._take()

    def _send(self, message: dict[str, Any]) -> None:
        self.send_line(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")

    def _take(self) -> None:
        message = json.loads(self._line())
        assert message["jsonrpc"] == "2.0", message
        if message.get("method") == "session/update":
            self.updates.append(message["params"])
        else:
            self._answers[message["id"]] = message

    def _line(self) -> bytes:
        deadline = time.monotonic() + PATIENCE_S
        while b"\n" not in self._buffer:
            left_s = deadline - time.monotonic()
            assert left_s > 0, f"nothing came in {PATIENCE_S} s"
            if select.select([self._source_fd], [], [], left_s)[0]:
                data = os.read(self._source_fd, 1 << 16)
                assert data, "the agent closed its stdout"
                self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line
