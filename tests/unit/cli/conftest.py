"""What the CLI's tests share: the command in this process over intercepted HTTP, and as a real process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import responses
from click.testing import CliRunner, Result

from clawdforge.cli.root import cli

URL = "http://gateway.test:8800"


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A gateway that only interception answers, a token, and nothing of whoever runs the tests."""
    for name in list(os.environ):
        if name.upper().startswith("CLAWDFORGE_") or name.upper().endswith("_PROXY") or name == "NO_COLOR":
            monkeypatch.delenv(name)
    monkeypatch.setenv("CLAWDFORGE_URL", URL)
    monkeypatch.setenv("CLAWDFORGE_TOKEN", "cf_test")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def http() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock() as mock:
        yield mock


@pytest.fixture
def invoke() -> Callable[..., Result]:
    def run(*arguments: str | Path, stdin: str | bytes | None = None) -> Result:
        result = CliRunner().invoke(cli, [str(each) for each in arguments], input=stdin, prog_name="clawdforge")
        # Anything but a clean exit is a traceback for the user.
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
        return result

    return run


@pytest.fixture
def sent(http: responses.RequestsMock) -> Callable[[], dict[str, Any]]:
    """The JSON object of the last request."""

    def last() -> dict[str, Any]:
        body = http.calls[-1].request.body
        assert isinstance(body, bytes)
        return dict(json.loads(body))

    return last


@pytest.fixture
def process() -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Runs the real command as a process of its own."""

    def run(*arguments: str | Path, env: dict[str, str] | None = None, **options: Any) -> Any:
        command = [sys.executable, "-m", "clawdforge", *map(str, arguments)]
        return subprocess.run(
            command, capture_output=True, timeout=60, env={**os.environ, **(env or {})}, **options
        )

    return run


@dataclass
class LiveGateway:
    """A real HTTP server that answers as it is told. `asked` is set with each request that came."""

    url: str
    status: int = 200
    body: bytes = b'{"ok": true, "result": "hello", "duration_ms": 1, "stop_reason": "end_turn"}'
    asked: threading.Event = field(default_factory=threading.Event)
    may_answer: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def live_gateway(monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveGateway]:
    """Answers at once; a test that clears `may_answer` keeps its callers waiting."""

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            live.asked.set()
            live.may_answer.wait(60)
            self.send_response(live.status)
            self.send_header("Content-Length", str(len(live.body)))
            self.end_headers()
            self.wfile.write(live.body)

        do_GET = do_POST = do_DELETE = handle_any

        def log_message(self, *_: object) -> None:
            """Silence."""

        def handle(self) -> None:
            try:
                super().handle()
            except ConnectionError:
                return  # a caller that was interrupted hangs up

    class Server(ThreadingHTTPServer):
        daemon_threads = True

    server = Server(("127.0.0.1", 0), Handler)
    live = LiveGateway(f"http://127.0.0.1:{server.server_address[1]}")
    live.may_answer.set()
    monkeypatch.setenv("CLAWDFORGE_URL", live.url)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield live
    live.may_answer.set()
    server.shutdown()
    server.server_close()
    thread.join(10)
