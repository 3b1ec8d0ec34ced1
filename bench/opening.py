"""Opening a session, over what its agent's own start takes; and whether the loop looks up meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.clients import RawAgent
from bench.rows import AGENT, Bar, Bench, Findings, Stage
from bench.sampling import Samples, combined, milliseconds

ROUNDS = 100
WARM_UP = 5
PROGRAM = ("-P", str(Path(__file__).with_name("ticking.py")))

OPEN = Bar("open.bare", "open a session, over the bare agent's own start, p50", "ms", 8)
SANDBOXED = Bar("open.sandboxed", "the same, in the sandbox", "ms", 16, built=False)
STALL = Bar("open.stall", "the loop's longest stall while a session opens and closes, p95", "ms", 2)


def measure(stage: Stage) -> Findings:
    """The rows of a session's opening."""
    spans = stage.root / "spans"
    bare: list[float] = []
    opened: list[float] = []
    windows: list[tuple[float, float]] = []
    with stage.gateway(program=PROGRAM, env={"BENCH_SPANS": str(spans)}) as served:
        client = served.plain()
        for number in range(WARM_UP + stage.rounds(ROUNDS)):
            start_s = time.perf_counter()
            agent = RawAgent()
            bare_ms = (time.perf_counter() - start_s) * 1000
            agent.close()
            paths: list[str] = []
            began = time.monotonic()
            open_ms = milliseconds(lambda: paths.append(client.create_session(AGENT)))  # noqa: B023 - called here
            client.call("DELETE", paths[0])
            if number >= WARM_UP:
                bare.append(bare_ms)
                opened.append(open_ms)
                windows.append((began, time.monotonic()))
        client.close()
    samples = {"open": Samples(tuple(opened)), "bare": Samples(tuple(bare))}
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
        OPEN.name: combined(samples, {"open": 1, "bare": -1}, 0.5),
        STALL.name: combined({"stall": stalls}, {"stall": 1}, 0.95),
    }
    return Findings(readings, probes)


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
