"""Who asks: a plain HTTP connection, and an agent over a raw pipe, with nothing between."""

from __future__ import annotations

import http.client
import json
import subprocess
from collections.abc import Callable, Sequence
from typing import Any, Self

from clawdforge.testing import fake_agent
from harness.levels import python_for_all


class Plain:
    """One kept connection of `http.client`."""

    def __init__(self, url: str, token: str) -> None:
        host, _, port = url.removeprefix("http://").partition(":")
        self._connection = http.client.HTTPConnection(host, int(port))
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def call(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """The body of a 200; anything else is a broken bench."""
        status, answer = self.ask(method, path, body)
        assert status == 200, answer
        return answer

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Status and body, whatever they are."""
        self._connection.request(method, path, body=body, headers=self._headers)
        response = self._connection.getresponse()
        return response.status, response.read()

    def create_session(self, agent: str) -> str:
        """The path of a new session."""
        answer = self.call("POST", "/sessions", json.dumps({"agent": agent}).encode())
        return f"/sessions/{json.loads(answer)['session_id']}"

    def close(self) -> None:
        self._connection.close()


class RawAgent:
    """The scripted agent as its own client would have it: started, and up to a session that takes prompts.

    Args:
        argv: its command line; None: by the Python that runs it for gateways.
        start: what starts that, with these streams; `subprocess.Popen` by itself.
    """

    def __init__(
        self, argv: Sequence[str] | None = None, start: Callable[..., subprocess.Popen[bytes]] = subprocess.Popen
    ) -> None:
        pipe = subprocess.PIPE
        argv = argv or [python_for_all(), *fake_agent.argv()[1:]]
        self._process = start(argv, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)
        self._call("initialize", {"protocolVersion": 1})
        self._session_id = self._call("session/new", {"cwd": "/", "mcpServers": []})["sessionId"]

    def prompt(self, text: str) -> None:
        """One turn, to its end."""
        prompt = [{"type": "text", "text": text}]
        self._call("session/prompt", {"sessionId": self._session_id, "prompt": prompt})

    def close(self) -> None:
        """Returns when it has left."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin and self._process.stdout
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        self._process.stdin.write(json.dumps(message).encode() + b"\n")
        self._process.stdin.flush()
        while True:
            answer = json.loads(self._process.stdout.readline())
            if answer.get("id") == 1 and "method" not in answer:
                return answer["result"]
