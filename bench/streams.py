"""Live events: from an agent's pipe, through the store, to readers of streams.

What counts is the content: a gateway may merge adjacent text of one message, so chunks are counted by what they
say. Writing and reading are other processes' work (`chatter`, `listeners`); the CPU is the gateway's alone.
"""

from __future__ import annotations

import array
import http.client
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

from bench.rows import AGENT, Bar, Bench, Findings, Served, Stage
from bench.sampling import Samples, middle, milliseconds, percentile
from bench.turns import commit_probe
from harness.levels import python_for_all

MB = 1_000_000
RUNS = 3
COMMIT_EVERY_S = 0.02
BEGIN_S = 1.0
SETTLED_S = 0.5
"""So long a load goes on before what comes counts."""

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Load:
    """What is offered: by so many agents each so many chunks at this pace; 0 is as fast as they are taken."""

    sessions: int
    per_s: float
    each: int

    @property
    def chunks(self) -> int:
        return self.sessions * self.each


LOADS = {
    "one": Load(sessions=1, per_s=200, each=1000),
    "5 k/s": Load(sessions=100, per_s=50, each=200),
    "20 k/s": Load(sessions=100, per_s=200, each=800),
    "flood": Load(sessions=1, per_s=0, each=300_000),
}


@dataclass(frozen=True, slots=True)
class Run:
    """What came of a run. Lags are in milliseconds, in the order in which chunks came."""

    offered: int
    delivered: int
    per_s: float
    lags: Samples
    cpu_percent: float
    rss_growth_mb: float

    def lag(self, share: float) -> float:
        """The lag that so much of all chunks do not exceed."""
        return self.lags.percentile(share)

    def told(self) -> str:
        """For the reader."""
        return (
            f"{self.delivered} of {self.offered}, {self.per_s:.0f}/s, lag {self.lag(0.5):.2f} ms p50, "
            f"{self.lag(0.99):.2f} ms p99, {self.cpu_percent:.0f} % of a core"
        )


def measure(stage: Stage) -> Findings:
    """The rows of live events."""
    socket = stage.root / "emitter"
    found: dict[str, list[Run]] = {name: [] for name in (*LOADS, *(f"{name}, relayed" for name in LOADS))}
    commits: list[float] = []
    with (
        emitter(socket),
        stage.gateway(agents=chatterers(socket)) as served,
        commit_probe(stage.root / "probe.db") as commit,
    ):
        for _ in range(1 if stage.quick else RUNS):
            for name, load in LOADS.items():
                with repeated(commit, commits) if name == "one" else nullcontext():
                    found[name].append(gateway_run(served, stage.root, load))
                found[f"{name}, relayed"].append(relay_run(socket, stage.root, load))
    readings = {bar.name: middle([value(run) for run in found[name]]) for name, bar, value in BARS}
    probes = [(f"events, {name}", "; ".join(run.told() for run in runs)) for name, runs in found.items()]
    told = ", ".join(f"{percentile(commits, share):.2f}" for share in (0.5, 0.9, 0.99, 1))
    probe = ("one event at a time: bare durable commits meanwhile, p50, p90, p99 and at most", f"{told} ms")
    return Findings(readings, [*probes, probe])


@contextmanager
def repeated(commit: Callable[[], object], taken: list[float]) -> Iterator[None]:
    """Meanwhile, commits now and then, and notes how long each took: what the disk itself was like."""
    over = Event()

    def go_on() -> None:
        while not over.wait(COMMIT_EVERY_S):
            taken.append(milliseconds(commit))

    thread = Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


BARS: Sequence[tuple[str, Bar, Callable[[Run], float]]] = (
    (
        "one",
        Bar(
            "events.one.p50", "one event at a time, 200 a second: stored, then delivered over SSE, p50", "ms", 1.5
        ),
        lambda run: run.lag(0.5),
    ),
    (
        "one",
        Bar("events.one.p99", "the same, p99", "ms", 3),
        lambda run: run.lag(0.99),
    ),
    (
        "5 k/s",
        Bar(
            "events.5k.rate",
            "100 sessions, 100 readers, 5 k events/s offered: delivered meanwhile",
            "/s",
            4_750,
            at_least=True,
        ),
        lambda run: run.per_s,
    ),
    ("5 k/s", Bar("events.5k.lag", "5 k events/s: lag, p99", "ms", 40), lambda run: run.lag(0.99)),
    ("5 k/s", Bar("events.5k.cpu", "5 k events/s: the gateway, of a core", "%", 75), lambda run: run.cpu_percent),
    (
        "20 k/s",
        Bar(
            "events.20k.rate",
            "the same, 20 k events/s from cheap agents: delivered meanwhile",
            "/s",
            18_500,
            at_least=True,
        ),
        lambda run: run.per_s,
    ),
    ("20 k/s", Bar("events.20k.lag", "20 k events/s: lag, p99", "ms", 100), lambda run: run.lag(0.99)),
    (
        "20 k/s",
        Bar("events.20k.cpu", "20 k events/s: the gateway, of a core", "%", 90),
        lambda run: run.cpu_percent,
    ),
    (
        "flood",
        Bar("events.flood.rate", "flood of 300 k events: stored and delivered", "/s", 60_000, at_least=True),
        lambda run: run.per_s,
    ),
    (
        "flood",
        Bar("events.flood.share", "flood: delivered in the end", "%", 100, at_least=True),
        lambda run: 100 * run.delivered / run.offered,
    ),
    ("flood", Bar("events.flood.lag", "flood: lag, p99", "ms", 500), lambda run: run.lag(0.99)),
    ("flood", Bar("events.flood.rss", "flood: RSS growth, at most", "MB", 150), lambda run: run.rss_growth_mb),
)


def gateway_run(served: Served, root: Path, load: Load) -> Run:
    """A load on a gateway: each agent has a session, and each session a reader."""
    client = served.plain()
    gateway = served.gateway
    paths = [client.create_session(AGENT) for _ in range(load.sessions)]
    with listeners(root, gateway.url, served.token, paths, load) as listening:
        before = gateway.forget_peak()
        begin = time.monotonic() + BEGIN_S
        prompt = json.dumps({"prompt": f"{begin} {load.each} {load.per_s}"}).encode()
        turns = [post(served, f"{path}/turn", prompt) for path in paths]
        cpu_percent = cpu_while(gateway.pid, begin + SETTLED_S * bool(load.per_s), listening)
        notes = listening.notes()
        for turn in turns:
            assert turn.getresponse().read()
            turn.close()
        grown_mb = max(0, gateway.peak_bytes() - before) / MB
    for path in paths:
        client.call("DELETE", path)
    client.close()
    return run_of(notes, load, begin, cpu_percent, grown_mb)


def relay_run(emitter: Path, root: Path, load: Load) -> Run:
    """The same load on a bare relay."""
    begin = time.monotonic() + BEGIN_S
    order = f"{begin} {load.each} {load.per_s}"
    argv = [sys.executable, str(HERE / "relay.py"), str(emitter), str(load.sessions), order]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as relay:
        assert relay.stdout is not None
        port = relay.stdout.readline().strip()
        with listeners(root, f"http://127.0.0.1:{port}", "-", [""] * load.sessions, load) as listening:
            cpu_percent = cpu_while(relay.pid, begin + SETTLED_S * bool(load.per_s), listening)
            notes = listening.notes()
    return run_of(notes, load, begin, cpu_percent, 0.0)


def run_of(
    notes: Sequence[tuple[float, float]], load: Load, begin: float, cpu_percent: float, grown_mb: float
) -> Run:
    """What the readers' notes come to. Of a paced load counts what comes while it goes on, once it has settled."""
    if load.per_s:
        begin, end = begin + SETTLED_S, max(sent for sent, _ in notes)
    else:
        end = max(came for _, came in notes)
    in_time = sum(begin <= came <= end for _, came in notes)
    lags = Samples(tuple((came - sent) * 1000 for sent, came in notes if sent >= begin))
    return Run(load.chunks, len(notes), in_time / (end - begin), lags, cpu_percent, grown_mb)


class Listening:
    """The readers' process."""

    def __init__(self, process: subprocess.Popen[str], file: Path) -> None:
        self._process = process
        self._file = file

    @property
    def running(self) -> bool:
        return not self._file.exists()

    def notes(self) -> list[tuple[float, float]]:
        """When each chunk was written and when it came, once all is there."""
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "done\n", "the readers gave up"
        found = array.array("d")
        found.frombytes(self._file.read_bytes())
        return list(zip(found[::2], found[1::2], strict=True))


@contextmanager
def listeners(root: Path, url: str, token: str, paths: Sequence[str], load: Load) -> Iterator[Listening]:
    file = root / f"notes-{time.monotonic_ns()}"
    host, _, port = url.removeprefix("http://").partition(":")
    routes = [f"{path}/events" for path in paths]
    argv = [sys.executable, str(HERE / "listeners.py"), str(file), str(load.chunks), host, port, token, *routes]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            yield Listening(process, file)
        finally:
            process.kill()


def chatterers(socket: Path) -> dict[str, dict[str, list[str]]]:
    """The agents of a gateway, with the cheap one in place of the scripted."""
    program = Path(shutil.copy(HERE / "chatter.py", socket.parent))
    return {AGENT: {"argv": [python_for_all(), "-I", "-S", str(program), "agent", str(socket)]}}


@contextmanager
def emitter(socket: Path) -> Iterator[None]:
    argv = [sys.executable, "-I", "-S", str(HERE / "chatter.py"), "emit", str(socket)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            socket.chmod(0o777)  # agents are not root
            yield
        finally:
            process.kill()


def post(served: Served, path: str, body: bytes) -> http.client.HTTPConnection:
    host, _, port = served.gateway.url.removeprefix("http://").partition(":")
    connection = http.client.HTTPConnection(host, int(port))
    headers = {"Authorization": f"Bearer {served.token}", "Content-Type": "application/json"}
    connection.request("POST", path, body=body, headers=headers)
    return connection


def cpu_while(pid: int, since: float, listening: Listening) -> float:
    """How much of a core a process took, in percent, from then until all was read."""
    time.sleep(max(0.0, since - time.monotonic()))
    began, cpu_s = time.monotonic(), cpu_seconds(pid)
    while listening.running:
        time.sleep(0.02)
    return 100 * (cpu_seconds(pid) - cpu_s) / (time.monotonic() - began)


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


BENCH = Bench("events", tuple(bar for _, bar, _ in BARS), measure)
