"""Sessions that want nothing but short turns, beside one that takes all it can: how much slower theirs become.

Each offence is committed three ways in turns: by nobody, by an agent that the gateway has nothing to do with, and
by a session's. The second tells what this machine's cores cannot give twice; what comes on top of it is the
gateway's doing, and is what the rows are about.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from bench.clients import Plain
from bench.rows import AGENT, Bar, Bench, Findings, Served, Stage
from bench.sampling import Samples, milliseconds, ratio

SESSIONS = 20
SLICES = 3
SLICE_S = 1.0
QUICK_SLICE_S = 0.3
TURN = json.dumps({"prompt": "[[SAY x]]"}).encode()
LIMIT = 2.0
OFFENDER = str(Path(__file__).with_name("offender.py"))

OFFENCES = {
    "prompt": ("10 MB prompts", "x" * 10_000_000),
    "answer": ("10 MB answers", "[[BIGTEXT 10000000]]"),
    "line": ("100 MB lines", "[[BIGLINE 100000000]]"),
    "flood": ("floods of 50 k updates", "[[FLOOD 50000]]"),
    "requests": ("floods of requests", "[[REQUESTS 5000]]"),
    "stderr": ("floods of stderr", "[[STDERR 100000000]]"),
    "deaths": ("an agent that dies in every turn", "[[EXIT 1]]"),
}
BARS = {
    name: Bar(
        f"beside.{name}",
        f"20 sessions' turns beside {what}: p99, in terms of that with the agent apart",
        "×",
        LIMIT,
    )
    for name, (what, _) in OFFENCES.items()
}


def measure(name: str, stage: Stage) -> Findings:
    """The row of one offence."""
    what, prompt = OFFENCES[name]
    slice_s = QUICK_SLICE_S if stage.quick else SLICE_S
    quiet: list[Samples] = []
    apart: list[Samples] = []
    beside: list[Samples] = []
    with stage.gateway() as served:
        client = served.plain()
        paths = [client.create_session(AGENT) for _ in range(SESSIONS)]
        _slice(client, paths, slice_s)
        for _ in range(SLICES):
            quiet.append(_slice(client, paths, slice_s))
            with _offender("apart", prompt=prompt):
                apart.append(_slice(client, paths, slice_s))
            with _beside(served, client, prompt):
                beside.append(_slice(client, paths, slice_s))
        for path in paths:
            client.call("DELETE", path)
        client.close()
    told = ", ".join(_told(Samples.joined(slices)) for slices in (quiet, apart, beside))
    probe = (f"{what}: turns beside nobody, the agent apart, a session's; p50 and p99", f"{told} ms")
    return Findings({BARS[name].name: ratio(beside, apart, 0.99)}, [probe])


def _slice(client: Plain, paths: list[str], lasts_s: float) -> Samples:
    """Turns of all sessions, one after the other."""
    ends = time.monotonic() + lasts_s
    taken: list[float] = []
    while time.monotonic() < ends:
        path = f"{paths[len(taken) % SESSIONS]}/turn"
        taken.append(milliseconds(lambda: client.call("POST", path, TURN)))  # noqa: B023 - called here
    return Samples(tuple(taken))


def _told(samples: Samples) -> str:
    return f"{samples.percentile(0.5):.1f} and {samples.percentile(0.99):.1f}"


@contextmanager
def _beside(served: Served, client: Plain, prompt: str) -> Iterator[None]:
    path = client.create_session(AGENT)
    try:
        with _offender(served.gateway.url, served.token, f"{path}/turn", prompt=prompt):
            yield
    finally:
        client.call("DELETE", path)


@contextmanager
def _offender(*arguments: str, prompt: str) -> Iterator[None]:
    """A process that commits one offence after the other; the first has begun."""
    process = subprocess.Popen(
        [sys.executable, "-P", OFFENDER, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin and process.stdout
    try:
        process.stdin.write(prompt)
        process.stdin.close()
        process.stdout.readline()
        time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


BENCHES = tuple(Bench("beside", (bar,), partial(measure, name)) for name, bar in BARS.items())
