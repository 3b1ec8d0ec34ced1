"""A warm turn, against what it cannot do without: the agent over a raw pipe, a no-op call, two durable commits."""

from __future__ import annotations

import http.client
import json
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.report import Row
from bench.sampling import Samples, combined, interleaved
from clawdforge import Forge
from clawdforge.testing import fake_agent
from harness.gateway import Gateway

ROUNDS = 1000
WARM_UP = 100
PROMPT = "[[SAY x]]"


def measure(root: Path) -> tuple[list[Row], str]:
    """The rows of a warm turn, and the probes as a table."""
    gateway = Gateway(root).start()
    try:
        with gateway.admin() as admin:
            token = admin.mint_token("bench").token
        with (
            Forge(base_url=gateway.url, token=token) as forge,
            raw_agent() as pipe,
            commit_probe(root / "data" / "probe.db") as commit,
        ):
            session = forge.create_session(agent="fake")
            client = Plain(gateway.url, token)
            path = f"/sessions/{session.session_id}"
            body = json.dumps({"prompt": PROMPT}).encode()
            samples = interleaved(
                {
                    "pipe": pipe,
                    "commit": commit,
                    "no-op": lambda: client.call("GET", path),
                    "turn": lambda: client.call("POST", f"{path}/turn", body),
                    "SDK turn": lambda: session.turn(PROMPT),
                },
                ROUNDS,
                WARM_UP,
            )
            session.close()
    finally:
        gateway.close()
    return _rows(samples), _probes(samples)


def _rows(samples: dict[str, Samples]) -> list[Row]:
    own = {"turn": 1.0, "no-op": -1.0, "pipe": -1.0, "commit": -2.0}
    rows = [Row("warm turn − no-op − pipe − 2 commits, p50", "ms", 0.6, *combined(samples, own, 0.5))]
    for what, name, bars in (
        ("`http.client`", "turn", (1.7, 3.0)),
        ("the SDK", "SDK turn", (2.8, 5.0)),
    ):
        over = {name: 1.0, "pipe": -1.0}
        for bar, share in zip(bars, (0.5, 0.99), strict=True):
            title = f"warm turn by {what} over the pipe, p{share * 100:g}"
            rows.append(Row(title, "ms", bar, *combined(samples, over, share)))
    return rows


def _probes(samples: dict[str, Samples]) -> str:
    told = {
        "pipe": "the same agent over a raw pipe, one turn",
        "commit": "one durable commit of one row (SQLite, WAL, synchronous=FULL), same disk",
        "no-op": "`GET /sessions/{id}` of a live session, by `http.client`",
        "turn": "`POST /sessions/{id}/turn`, one event, by `http.client`",
        "SDK turn": "`session.turn(…)`",
    }
    lines = ["| probe | p50 ms | p99 ms |", "|---|---|---|"]
    lines += [f"| {text} | {samples[name].p50:.3f} | {samples[name].p99:.3f} |" for name, text in told.items()]
    return "\n".join(lines)


class Plain:
    """One kept connection, and nothing of the SDK."""

    def __init__(self, url: str, token: str) -> None:
        host, _, port = url.removeprefix("http://").partition(":")
        self._connection = http.client.HTTPConnection(host, int(port))
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def call(self, method: str, path: str, body: bytes | None = None) -> None:
        self._connection.request(method, path, body=body, headers=self._headers)
        response = self._connection.getresponse()
        answer = response.read()
        assert response.status == 200, answer


@contextmanager
def raw_agent() -> Iterator[Any]:
    """A turn of the scripted agent with nothing between."""
    process = subprocess.Popen(fake_agent.argv(), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None

    def call(method: str, params: dict[str, Any]) -> dict[str, Any]:
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        process.stdin.write(json.dumps(message).encode() + b"\n")
        process.stdin.flush()
        while True:
            answer = json.loads(process.stdout.readline())
            if answer.get("id") == 1 and "method" not in answer:
                return answer["result"]

    call("initialize", {"protocolVersion": 1})
    session_id = call("session/new", {"cwd": "/", "mcpServers": []})["sessionId"]
    prompt = [{"type": "text", "text": PROMPT}]
    yield lambda: call("session/prompt", {"sessionId": session_id, "prompt": prompt})
    process.stdin.close()
    process.wait()
    process.stdout.close()


@contextmanager
def commit_probe(path: Path) -> Iterator[Any]:
    """One durable commit, as bare as SQLite can."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE probe (value)")
    yield lambda: connection.execute("INSERT INTO probe VALUES (1)")
    connection.close()
