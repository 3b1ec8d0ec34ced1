"""What an agent without a network waits longer for its model than one that asks it straight."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.rows import Bar, Bench, Findings, Stage
from bench.sampling import combined, interleaved

ROUNDS = 1000
WARM_UP = 50
LEADING = str(Path(__file__).with_name("leading.py"))
# As large as an agent's, which tells its instructions and its tools with each request; answered as a stream.
ASKED = json.dumps(
    {
        "model": "m",
        "stream": True,
        "system": "Be brief. " * 4000,
        "tools": [{"name": "t", "input_schema": {}}],
        "messages": [{"role": "user", "content": "[[SAY hello]]"}],
    }
).encode()

REQUEST = Bar(
    "relay.request", "a request to a model by way of the relay, over the same one straight, p50", "ms", 0.5
)


def measure(stage: Stage) -> Findings:
    """The row of the relay. Model, relay and agent are processes of their own."""
    with _program("-m", "clawdforge.testing.fake_model") as base_url:
        straight = http.client.HTTPConnection(base_url.removeprefix("http://"))
        path = stage.root / "door"
        with _program(LEADING, base_url, str(path)), socket.create_server(("127.0.0.1", 0)) as door:
            led = http.client.HTTPConnection("127.0.0.1", _brought(door, path))
            samples = interleaved(
                {"straight": lambda: _ask(straight), "led": lambda: _ask(led)}, stage.rounds(ROUNDS), WARM_UP
            )
            led.close()
        straight.close()
    p50 = {name: each.percentile(0.5) for name, each in samples.items()}
    told = f"{p50['straight']:.2f} ms p50, by way of the relay {p50['led']:.2f}"
    return Findings(
        {REQUEST.name: combined(samples, {"led": 1, "straight": -1}, 0.5)},
        [(f"a request of {len(ASKED) // 1000} kB to a scripted model, on a kept connection", told)],
    )


def _ask(connection: http.client.HTTPConnection) -> None:
    connection.request("POST", "/v1/messages", ASKED)
    answer = connection.getresponse()
    assert answer.status == 200
    assert b"hello" in answer.read()


@contextmanager
def _program(*arguments: str) -> Iterator[str]:
    """A program of Python's, once it has said its first line, which is given; in the end it is gone."""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, *arguments], stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout
        yield process.stdout.readline().strip()
        process.terminate()


def _brought(door: socket.socket, path: Path) -> int:
    """Hands the door over as a doorway does. Returns its port."""
    with socket.socket(socket.AF_UNIX) as outside:
        outside.connect(str(path))
        socket.send_fds(outside, [b"."], [door.fileno()])
        assert outside.recv(1) == b"."
    port: int = door.getsockname()[1]
    return port


BENCH = Bench("relay", (REQUEST,), measure)
