"""What clawdforge weighs: imports, an idle gateway, ten megabytes in and out."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil

from bench.report import Row
from bench.sampling import middle
from harness.gateway import Gateway, until

IMPORTS = 15
MB = 1_000_000
TEN_MB = 10 * MB


def measure(root: Path) -> list[Row]:
    """The rows of imports and memory."""
    return [*_imports(), *_memory(root)]


def _imports() -> list[Row]:
    """Of CPU time, for the wall's would be the other processes' too; bare Python is taken off."""
    programs = {
        "bare": "pass",
        "requests": "import requests",
        "sdk": "import clawdforge; clawdforge.Forge",
        "gateway": "import clawdforge.server.main",
    }
    taken: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(IMPORTS):
        for name, program in programs.items():
            taken[name].append(_cpu_ms(program))
    over_requests = [sdk - base for sdk, base in zip(taken["sdk"], taken["requests"], strict=True)]
    gateway = [(full - bare) / 1000 for full, bare in zip(taken["gateway"], taken["bare"], strict=True)]
    return [
        Row("`import clawdforge` with `Forge`, over `import requests`", "ms", 30, *middle(over_requests)),
        Row("import of the gateway", "s", 0.6, *middle(gateway)),
    ]


def _cpu_ms(program: str) -> float:
    timed = f"import time\nstart = time.process_time()\n{program}\nprint((time.process_time() - start) * 1000)"
    done = subprocess.run([sys.executable, "-c", timed], capture_output=True, text=True, check=True)
    return float(done.stdout)


def _memory(root: Path) -> list[Row]:
    gateway = Gateway(root).start()
    try:
        process = psutil.Process(gateway.pid)
        with gateway.app(default_timeout_secs=60) as forge:
            forge.healthz()
            idle = process.memory_info().rss / MB
            session = forge.create_session(agent="fake")
            session.turn("warm")
            rows = [Row("idle gateway, RSS", "MB", 65, idle, idle, idle)]
            for what, prompt in (("10 MB prompt", "x" * TEN_MB), ("10 MB answer", f"[[BIGTEXT {TEN_MB}]]")):
                before = process.memory_info().rss / MB
                started = time.perf_counter()
                assert len(session.turn(prompt).text()) >= TEN_MB
                lasted = time.perf_counter() - started
                grown = process.memory_info().rss / MB - before
                title = f"{what} ({lasted:.2f} s): RSS growth after, beyond the payload"
                rows.append(Row(title, "MB", 64, *[max(0.0, grown - 10)] * 3))
            session.close()
            until(lambda: not gateway.children(), "the agent's end")
    finally:
        gateway.close()
    return rows
