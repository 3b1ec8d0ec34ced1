"""What the SDK's tests share: intercepted HTTP, and a real server where interception proves nothing."""

from __future__ import annotations

import gc
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import responses

from clawdforge import AsyncForge, Forge
from clawdforge.client import _retry
from clawdforge.testing import FakeGateway
from harness.twins import Twin

URL = "http://gateway.test:8800"
TOKEN = "cf_unit-test-token-0123456789"


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of whoever runs the tests leaks in."""
    for name in (
        "CLAWDFORGE_URL",
        "CLAWDFORGE_TOKEN",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "NETRC",
    ):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def http() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock() as mock:
        yield mock


@pytest.fixture
def forge() -> Iterator[Forge]:
    with Forge(base_url=URL, token=TOKEN) as forge:
        yield forge


@pytest.fixture
def sent(http: responses.RequestsMock) -> Callable[[], dict[str, Any]]:
    """The JSON object of the last request."""

    def last() -> dict[str, Any]:
        body = http.calls[-1].request.body
        assert isinstance(body, bytes)
        return dict(json.loads(body))

    return last


@dataclass
class Seen:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class LiveServer:
    """A real HTTP server. `answer` maps a request to status, headers and body; `seen` holds what came.

    `connections` counts those that it was called by.
    """

    url: str
    answer: Callable[[Seen], tuple[int, dict[str, str], bytes]]
    seen: list[Seen] = field(default_factory=list)
    connections: int = 0


@pytest.fixture
def live_server() -> Iterator[LiveServer]:
    """Answers every request with `{"ok": true}`, until a test sets another `answer`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            seen = Seen(self.command, self.path, dict(self.headers), self._body())
            live.seen.append(seen)
            status, headers, body = live.answer(seen)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_DELETE = handle_any

        def handle(self) -> None:
            live.connections += 1
            try:
                super().handle()
            except ConnectionError:
                return  # a client may hang up in mid request: that is what some tests are about

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def log_message(self, *_: object) -> None:
            """Silence: what came is in `seen`."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True  # a kept-alive connection must not hold up the end of a test

    server = Server(("127.0.0.1", 0), Handler)
    live = LiveServer(
        f"http://127.0.0.1:{server.server_address[1]}",
        lambda _: (200, {"Content-Type": "application/json"}, b'{"ok": true}'),
    )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield live
    server.shutdown()
    server.server_close()
    thread.join(10)


@pytest.fixture(params=[Forge, AsyncForge])
def twin(request: pytest.FixtureRequest) -> Twin:
    """Each of the SDK's twins, by one face."""
    return Twin(request.param)


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    """A gateway without agents, of this test's own."""
    with FakeGateway() as gateway:
        yield gateway


@pytest.fixture
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tried again is tried at once: how long a Forge waits is told by the tests of its flows."""
    monkeypatch.setattr(_retry, "FIRST_WAIT_S", 0.001)


@pytest.fixture
def no_collection() -> Iterator[None]:
    """For what recurses as deep as Python lets it: there, nothing that others have left could be finalized."""
    gc.disable()
    yield
    gc.enable()
