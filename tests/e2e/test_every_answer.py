"""What every answer says, whatever was sent and wherever it is answered: that idempotency keys count here."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import closing
from urllib.parse import urlsplit

import pytest

from clawdforge import Forge
from harness.gateway import Gateway
from harness.http import DEADLINE_S, ask

SETTINGS = {
    "head_timeout_secs": 0.3,
    "max_head_bytes": 4096,
    "max_json_bytes": 2048,
    "max_running_turns": 1,
    "max_streams": 1,
    "min_body_bytes_per_sec": 100_000,
}


class Line:
    """A connection on which a test writes bytes as it likes."""

    def __init__(self, app: Forge) -> None:
        self.token = app._config.token or ""
        parts = urlsplit(app.base_url)
        self._at = (parts.hostname or "", parts.port or 0)

    def told(self, start: str, *lines: str, body: bytes = b"", authorized: bool = True) -> bytes:
        """What a request is answered: as sent, with a host and, if wanted, a token."""
        head = [start, "Host: x", *((f"Authorization: Bearer {self.token}",) if authorized else ()), *lines]
        return self.answered("\r\n".join([*head, "", ""]).encode() + body)

    def answered(self, sent: bytes) -> bytes:
        """All that comes back, until the gateway has closed or a whole head has come."""
        with closing(socket.create_connection(self._at, timeout=DEADLINE_S)) as line:
            line.sendall(sent)
            found = b""
            while b"\r\n\r\n" not in found.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n"):
                piece = line.recv(65_536)
                assert piece, f"the connection ended after {found!r}"
                found += piece
        return found.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")


def check(answer: bytes, status: int) -> None:
    """Its status, and what every answer has, once."""
    head = answer.partition(b"\r\n\r\n")[0].lower().split(b"\r\n")
    assert head[0].split(b" ")[1] == str(status).encode(), answer[:2000]
    names = [line.partition(b":")[0] for line in head[1:]]
    assert (names.count(b"idempotency-supported"), names.count(b"x-request-id")) == (1, 1), head
    assert b"idempotency-supported: true" in head


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with little patience and little room."""
    gateway = Gateway(tmp_path_factory.mktemp("narrow"), settings=SETTINGS)
    yield gateway.start()
    gateway.close()


@pytest.fixture(scope="module")
def narrow_app(narrow: Gateway) -> Iterator[Forge]:
    with narrow.app() as app:
        app.healthz()  # its connection is open before a test looks
        yield app


JSON = "Content-Type: application/json"


def sized(body: bytes) -> str:
    return f"Content-Length: {len(body)}"


PROMPT = json.dumps({"prompt": "hi", "agent": "fake"}).encode()
MALFORMED = b'{"prompt": "a", "prompt": "b"}'
WRONG = b'{"prompt": 7}'
UNFINISHED = {
    "a head that does not end": (b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: ", 408),
    "no HTTP": (b"hello there\r\n\r\n", 400),
    "another version": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "a name that is none": (b"GET / HTTP/1.1\r\nHost: x\r\nA B: c\r\n\r\n", 400),
    "two lengths": (b"POST /run HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
    "another protocol": (
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        400,
    ),
    "a head that is too long": (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", 431),
    "a path that is too long": (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431),
}


@pytest.mark.parametrize("name", UNFINISHED)
def test_what_is_no_request_is_answered_so(narrow_app: Forge, name: str) -> None:
    sent, status = UNFINISHED[name]
    check(Line(narrow_app).answered(sent), status)


def test_requests_of_every_kind_are_answered_so(narrow_app: Forge) -> None:
    line = Line(narrow_app)
    check(line.told("GET /healthz HTTP/1.1", authorized=False), 200)
    check(line.told("GET /healthz HTTP/1.0", authorized=False), 200)
    check(line.told("HEAD /healthz HTTP/1.1", authorized=False), 200)
    check(line.told("GET /openapi.json HTTP/1.1"), 200)
    check(line.told("GET /openapi.json HTTP/1.1", authorized=False), 401)
    check(line.told("POST /run HTTP/1.1", JSON, sized(PROMPT), body=PROMPT), 200)
    check(line.told("POST /run HTTP/1.1", JSON, sized(MALFORMED), body=MALFORMED), 400)
    check(line.told("GET /sessions HTTP/1.1", authorized=False), 401)
    check(line.told("GET /admin/tokens HTTP/1.1"), 403)
    check(line.told("GET /nowhere HTTP/1.1"), 404)
    check(line.told("OPTIONS /run HTTP/1.1"), 405)
    check(line.told("POST /run HTTP/1.1", JSON, "Content-Length: 100", body=b'{"prompt"'), 408)
    check(line.told("POST /run HTTP/1.1", JSON, "Content-Length: 100000", "Expect: 100-continue"), 413)
    check(line.told("POST /run HTTP/1.1", JSON, "Transfer-Encoding: chunked", body=b"2000\r\n" + b" " * 8192), 413)
    check(line.told("POST /run HTTP/1.1", JSON, "Transfer-Encoding: chunked", body=b"nonsense\r\n"), 400)
    check(line.told("POST /run HTTP/1.1", "Content-Type: text/plain", sized(PROMPT), body=PROMPT), 415)
    check(line.told("POST /run HTTP/1.1", JSON, sized(WRONG), body=WRONG), 422)
    check(line.told("POST /run HTTP/1.1", JSON, sized(PROMPT), "Idempotency-Key: a b", body=PROMPT), 422)


def test_what_the_gateway_has_no_room_or_no_agent_for_is_answered_so(narrow_app: Forge) -> None:
    line = Line(narrow_app)
    absent = b'{"prompt": "hi", "agent": "opencode"}'
    check(line.told("POST /run HTTP/1.1", JSON, sized(absent), body=absent), 503)
    session_id = narrow_app.create_session(agent="fake").session_id
    turn = f"POST /sessions/{session_id}/turn HTTP/1.1"
    for prompt, status in (
        (b'{"prompt": "[[EXIT 3]]"}', 502),
        (b'{"prompt": "[[HANG]]", "timeout_secs": 1}', 504),
    ):
        check(line.told(turn, JSON, sized(prompt), body=prompt), status)
    hanging = b'{"prompt": "[[HANG]]"}'
    check(line.told(turn, JSON, "Prefer: respond-async", sized(hanging), body=hanging), 202)
    check(line.told(turn, JSON, sized(hanging), body=hanging), 409)
    check(line.told("POST /run HTTP/1.1", JSON, sized(PROMPT), body=PROMPT), 429)
    ask(narrow_app, "POST", f"/sessions/{session_id}/cancel")
    events = f"GET /sessions/{session_id}/events HTTP/1.1"
    check(line.told(events, "Accept: text/event-stream"), 200)


def test_files_and_parts_of_them_are_answered_so(narrow_app: Forge) -> None:
    line = Line(narrow_app)
    session_id = narrow_app.create_session(agent="fake").session_id
    path = f"/sessions/{session_id}/files/a.txt HTTP/1.1"
    check(line.told(f"PUT {path}", "Content-Length: 5", body=b"hello"), 200)
    found = line.told(f"GET {path}")
    check(found, 200)
    etag = next(each for each in found.split(b"\r\n") if each.lower().startswith(b"etag:")).decode()
    check(line.told(f"GET {path}", "Range: bytes=1-2"), 206)
    check(line.told(f"GET {path}", f"If-None-Match: {etag.partition(':')[2].strip()}"), 304)
    check(line.told(f"GET {path}", 'If-Match: "other"'), 412)
    check(line.told(f"GET {path}", "Range: bytes=9-"), 416)
    ask(narrow_app, "DELETE", f"/sessions/{session_id}")
    check(line.told(f"PUT {path}", "Content-Length: 5", body=b"hello"), 410)
