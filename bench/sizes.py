"""Ten megabytes in and out, a line and an upload beyond all bounds: what they do to the gateway's memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import psutil

from bench.rows import AGENT, Bar, Bench, Findings, Reading, Served, Stage
from bench.sampling import middle, milliseconds

TIMES = 3
MB = 1_000_000
TEN_MB = 10 * MB
LINE_LIMIT_BYTES = 32 * 1024 * 1024
UPLOAD_BYTES = 512 * 1024 * 1024

BARS = {
    "prompt": Bar("size.prompt", "10 MB prompt: RSS growth at its peak, beyond the payload", "MB", 64),
    "answer": Bar("size.answer", "10 MB answer: the same", "MB", 64),
    "line": Bar(
        "size.line", "100 MB line of an agent: the same, beyond the 32 MiB that a line may have", "MB", 64
    ),
}
KEPT = Bar("size.kept", "all of these: RSS growth that stays", "MB", 64)
UPLOAD = Bar("size.upload", "512 MiB upload: RSS growth at its peak", "MB", 16.8)
PAYLOADS = {"prompt": TEN_MB, "answer": TEN_MB, "line": LINE_LIMIT_BYTES}


def measure(stage: Stage) -> Findings:
    """The rows of large things."""
    peaks: dict[str, list[float]] = {name: [] for name in BARS}
    took_ms: dict[str, list[float]] = {name: [] for name in BARS}
    with stage.gateway() as served:
        client = served.plain()
        turn = client.create_session(AGENT) + "/turn"

        def ask(prompt: str) -> tuple[int, bytes]:
            return client.ask("POST", turn, json.dumps({"prompt": prompt}).encode())

        def answered(prompt: str) -> None:
            status, answer = ask(prompt)
            assert status == 200 and len(answer) > TEN_MB, answer[:200]

        def cut_off() -> None:
            status, answer = ask(f"[[BIGLINE {10 * TEN_MB}]]")
            assert (status, json.loads(answer)["code"]) == (502, "agent_failed"), answer
            assert ask("the session lives on")[0] == 200

        deeds: dict[str, Callable[[], None]] = {
            "prompt": lambda: answered("x" * TEN_MB),
            "answer": lambda: answered(f"[[BIGTEXT {TEN_MB}]]"),
            "line": cut_off,
        }
        ask("warm")
        before = _resident(served)
        for _ in range(TIMES):
            for name, deed in deeds.items():
                resident = served.gateway.forget_peak()
                took_ms[name].append(milliseconds(deed))
                peaks[name].append((served.gateway.peak_bytes() - resident - PAYLOADS[name]) / MB)
        kept = (_resident(served) - before) / MB
        client.close()
        readings = {BARS[name].name: middle(taken) for name, taken in peaks.items()}
        readings |= {KEPT.name: middle([kept]), UPLOAD.name: _upload(served, stage.root / "upload")}
    told = {
        "prompt": "a 10 MB prompt and its answer",
        "answer": "a 10 MB answer",
        "line": "a 100 MB line, and a turn",
    }
    return Findings(readings, [(told[name], f"{middle(taken).value:.0f} ms") for name, taken in took_ms.items()])


def _upload(served: Served, path: Path) -> Reading:
    with path.open("wb") as file:
        file.truncate(UPLOAD_BYTES)
    with served.forge() as forge:
        resident = served.gateway.forget_peak()
        assert forge.upload_file(path).size == UPLOAD_BYTES
        return middle([(served.gateway.peak_bytes() - resident) / MB])


def _resident(served: Served) -> int:
    return int(psutil.Process(served.gateway.pid).memory_info().rss)


BENCH = Bench("size", (*BARS.values(), KEPT, UPLOAD), measure)
