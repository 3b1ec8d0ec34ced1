"""What the SDK itself costs: against a server of canned answers, which costs next to nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import requests

from bench.rows import Bar, Bench, Findings, Stage
from bench.sampling import combined, interleaved, middle
from clawdforge import Forge

ROUNDS = 2000
WARM_UP = 100
STREAMS = 500
EVENTS_EACH = 400
RUNS = 5

CALL = Bar("sdk.call", "`forge.run` over a bare `requests.Session().post` of the same bytes, p50", "ms", 0.3)
STREAMED = Bar(
    "sdk.streams", "AsyncForge: 500 streams at once on one loop, events read", "/s", 30_000, at_least=True
)


def measure(stage: Stage) -> Findings:
    """The rows of the SDK."""
    with canned(EVENTS_EACH) as url, requests.Session() as bare, Forge(base_url=url) as forge:
        forge.run("x")
        body = b'{"prompt":"x","timeout_secs":120}'
        samples = interleaved(
            {
                "sdk": lambda: forge.run("x"),
                "bare": lambda: bare.post(f"{url}/run", data=body, timeout=150).json(),
                "new": lambda: requests.post(f"{url}/run", data=body, timeout=150).json(),
            },
            stage.rounds(ROUNDS),
            WARM_UP,
        )
        rates = [streamed(url) for _ in range(1 if stage.quick else RUNS)]
    readings = {CALL.name: combined(samples, {"sdk": 1, "bare": -1}, 0.5), STREAMED.name: middle(rates)}
    told = {
        "sdk": "`forge.run`",
        "bare": "the same bytes by a kept `requests.Session`",
        "new": "by `requests.post`",
    }
    return Findings(
        readings, [(what, f"{samples[name].percentile(0.5):.3f} ms p50") for name, what in told.items()]
    )


@contextmanager
def canned(events: int) -> Iterator[str]:
    """The URL of a server of canned answers."""
    argv = [sys.executable, "-m", "bench.canned", str(events)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.terminate()


def streamed(url: str) -> float:
    """Events a second that one loop reads from all streams together."""
    argv = [sys.executable, "-m", "bench.reading", url, str(STREAMS)]
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True, timeout=120)
    came, seconds = done.stdout.split()
    assert int(came) == STREAMS * EVENTS_EACH, f"{came} events came"
    return int(came) / float(seconds)


BENCH = Bench("sdk", (CALL, STREAMED), measure)
