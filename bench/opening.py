"""Opening a session, over what its agent's own start takes; and whether the loop looks up meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.clients import Plain, RawAgent
from bench.rows import Bar, Bench, Findings, Stage
from bench.sampling import Samples, combined, milliseconds
from harness.gateway import Gateway
from harness.levels import gateway_at

ROUNDS = 100
WARM_UP = 5
PROGRAM = ("-P", str(Path(__file__).with_name("ticking.py")))

OPEN = Bar("open.bare", "open a session without a wall, over the bare agent's own start, p50", "ms", 8)
SANDBOXED = Bar("open.sandboxed", "the same behind bwrap", "ms", 16)
STALL = Bar("open.stall", "the loop's longest stall while a session opens and closes behind bwrap, p95", "ms", 2)
LEVELS = ("none", "bwrap")


def measure(stage: Stage) -> Findings:
    """The rows of a session's opening."""
    spans = stage.root / "spans"
    taken: dict[str, list[float]] = {name: [] for name in ("bare", *LEVELS)}
    windows: list[tuple[float, float]] = []
    with ExitStack() as closing:
        gateways = {level: closing.enter_context(gateway_at(level)) for level in LEVELS}
        gateways["bwrap"].program, gateways["bwrap"].env = PROGRAM, {"BENCH_SPANS": str(spans)}
        clients = {level: closing.enter_context(_client(gateway)) for level, gateway in gateways.items()}
        for number in range(WARM_UP + stage.rounds(ROUNDS)):
            took = {"bare": _bare_ms(gateways["none"].agents["fake"]["argv"])}
            for level, client in clients.items():
                began = time.monotonic()
                took[level] = _opened_ms(client)
            if number >= WARM_UP:
                windows.append((began, time.monotonic()))
                for name, lasted in took.items():
                    taken[name].append(lasted)
    samples = {name: Samples(tuple(values)) for name, values in taken.items()}
    stalls = Samples(tuple(_longest(spans, windows, less_kept_off=True)))
    probes = [
        ("the bare agent's start, up to its session", f"{samples['bare'].percentile(0.5):.1f} ms p50"),
        ("the stalls", _told(stalls)),
        (
            "the stalls, with the time that the loop waited for a core",
            _told(Samples(tuple(_longest(spans, windows, less_kept_off=False)))),
        ),
    ]
    readings = {
        OPEN.name: combined(samples, {"none": 1, "bare": -1}, 0.5),
        SANDBOXED.name: combined(samples, {"bwrap": 1, "bare": -1}, 0.5),
        STALL.name: combined({"stall": stalls}, {"stall": 1}, 0.95),
    }
    return Findings(readings, probes)


@contextmanager
def _client(gateway: Gateway) -> Iterator[Plain]:
    """A kept connection to a gateway that is started for it."""
    gateway.start()
    with gateway.admin() as admin:
        client = Plain(gateway.url, admin.mint_token("bench").token)
    try:
        yield client
    finally:
        client.close()


def _bare_ms(argv: Sequence[str]) -> float:
    agents: list[RawAgent] = []
    lasted = milliseconds(lambda: agents.append(RawAgent(argv)))
    agents[0].close()
    return lasted


def _opened_ms(client: Plain) -> float:
    paths: list[str] = []
    lasted = milliseconds(lambda: paths.append(client.create_session("fake")))
    client.call("DELETE", paths[0])
    return lasted


def _longest(spans: Path, windows: Sequence[tuple[float, float]], *, less_kept_off: bool) -> Iterator[float]:
    """Of each window the longest span, in milliseconds."""
    noted = [tuple(float(each) for each in line.split()) for line in spans.read_text().splitlines()]
    for began, ended in windows:
        yield max(
            (
                (lasted - less_kept_off * kept_off) * 1000
                for woken, lasted, kept_off in noted
                if began <= woken <= ended
            ),
            default=0.0,
        )


def _told(stalls: Samples) -> str:
    p50, p95 = stalls.percentile(0.5), stalls.percentile(0.95)
    return f"{p50:.2f} ms p50, {p95:.2f} ms p95, {max(stalls.values):.2f} ms at most"


BENCH = Bench("open", (OPEN, SANDBOXED, STALL), measure)
