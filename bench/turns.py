"""A warm turn, against what it cannot do without: the agent over a raw pipe, a no-op call, two durable commits."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.clients import RawAgent
from bench.rows import AGENT, Bar, Bench, Findings, Stage
from bench.sampling import Samples, combined, interleaved

ROUNDS = 2000
WARM_UP = 100
PROMPT = "[[SAY x]]"

OWN = Bar("turn.own", "warm turn − no-op − pipe − 2 commits, p50", "ms", 0.6)
HTTP_P50 = Bar("turn.http-p50", "warm turn by `http.client` over the pipe, p50", "ms", 1.7)
HTTP_P99 = Bar("turn.http-p99", "the same, p99", "ms", 3.0)
SDK_P50 = Bar("turn.sdk-p50", "warm turn by the SDK over the pipe, p50", "ms", 2.8)
SDK_P99 = Bar("turn.sdk-p99", "the same, p99", "ms", 5.0)

PROBES = {
    "pipe": "the same agent over a raw pipe, one turn",
    "commit": "one durable commit of one row (SQLite, WAL, synchronous=FULL), same disk",
    "no-op": "`GET /sessions/{id}` of a live session, by `http.client`",
    "turn": "`POST /sessions/{id}/turn`, one event, by `http.client`",
    "SDK no-op": "`forge.get_session(…)`",
    "SDK turn": "`session.turn(…)`",
}


def measure(stage: Stage) -> Findings:
    """The rows of a warm turn."""
    with (
        stage.gateway() as served,
        served.forge() as forge,
        RawAgent() as agent,
        commit_probe(served.gateway.data_dir / "probe.db") as commit,
    ):
        session = forge.create_session(agent=AGENT)
        client = served.plain()
        path = f"/sessions/{session.session_id}"
        body = json.dumps({"prompt": PROMPT}).encode()
        samples = interleaved(
            {
                "pipe": lambda: agent.prompt(PROMPT),
                "commit": commit,
                "no-op": lambda: client.call("GET", path),
                "turn": lambda: client.call("POST", f"{path}/turn", body),
                "SDK no-op": lambda: forge.get_session(session.session_id),
                "SDK turn": lambda: session.turn(PROMPT),
            },
            stage.rounds(ROUNDS),
            WARM_UP,
        )
        client.close()
        session.close()
    readings = {OWN.name: combined(samples, {"turn": 1, "no-op": -1, "pipe": -1, "commit": -2}, 0.5)}
    for name, p50, p99 in (("turn", HTTP_P50, HTTP_P99), ("SDK turn", SDK_P50, SDK_P99)):
        readings[p50.name] = combined(samples, {name: 1, "pipe": -1}, 0.5)
        readings[p99.name] = combined(samples, {name: 1, "pipe": -1}, 0.99)
    return Findings(readings, [(PROBES[name], _told(taken)) for name, taken in samples.items()])


def _told(samples: Samples) -> str:
    return f"{samples.percentile(0.5):.3f} ms p50, {samples.percentile(0.99):.3f} ms p99"


@contextmanager
def commit_probe(path: Path) -> Iterator[Callable[[], object]]:
    """One durable commit, as bare as SQLite can."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE probe (value)")
    yield lambda: connection.execute("INSERT INTO probe VALUES (1)")
    connection.close()


BENCH = Bench("turn", (OWN, HTTP_P50, HTTP_P99, SDK_P50, SDK_P99), measure)
