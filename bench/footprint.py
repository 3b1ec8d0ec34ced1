"""What clawdforge weighs where it does nothing: imports, an idle gateway, an open session without an agent."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import psutil

from bench.rows import AGENT, Bar, Bench, Findings, Reading, Stage
from bench.sampling import middle, percentile, quartiles
from harness.gateway import until

IMPORTS = 60
GATEWAY_IMPORTS = 15
SESSIONS = 300
WARM_UP = 200
AT_ONCE = 10
MB = 1_000_000

SDK_IMPORT = Bar("weight.sdk-import", "`import clawdforge` with `Forge`, over `import requests`, CPU", "ms", 30)
GATEWAY_IMPORT = Bar("weight.gateway-import", "import of the gateway, over bare Python, CPU", "s", 0.6)
IDLE = Bar("weight.idle", "idle gateway, RSS", "MB", 65)
ASLEEP = Bar("weight.asleep", "a sleeping session: open, its agent gone; RSS", "kB", 4)


def measure(stage: Stage) -> Findings:
    """The rows of imports and of idle memory."""
    sdk = _imports(stage.rounds(IMPORTS), base="import requests", full="import clawdforge; clawdforge.Forge")
    gateway = _imports(stage.rounds(GATEWAY_IMPORTS), base="pass", full="import clawdforge.server.main")
    idle, asleep = _memory(stage)
    return Findings(
        {
            SDK_IMPORT.name: quartiles([full - base for base, full in sdk]),
            GATEWAY_IMPORT.name: quartiles([(full - base) / 1000 for base, full in gateway]),
            IDLE.name: idle,
            ASLEEP.name: asleep,
        },
        [("`import requests`, CPU, median", f"{percentile([base for base, _ in sdk], 0.5):.0f} ms")],
    )


def _imports(rounds: int, *, base: str, full: str) -> list[tuple[float, float]]:
    """CPU milliseconds of both, in turns. Of CPU, for the wall's would be the other processes' too."""
    return [(_cpu_ms(base), _cpu_ms(full)) for _ in range(rounds)]


def _cpu_ms(program: str) -> float:
    timed = f"import time\nstart = time.process_time()\n{program}\nprint((time.process_time() - start) * 1000)"
    done = subprocess.run([sys.executable, "-c", timed], capture_output=True, text=True, check=True)
    return float(done.stdout)


def _memory(stage: Stage) -> tuple[Reading, Reading]:
    """An idle gateway's memory, and what many sessions without agents add, each."""
    settings = {"max_sessions_per_app": 10 * SESSIONS, "max_running_turns": SESSIONS}
    with stage.gateway(settings=settings) as served:
        process = psutil.Process(served.gateway.pid)
        idle = process.memory_info().rss
        with served.forge() as forge, ThreadPoolExecutor(AT_ONCE) as pool:

            def add(count: int) -> int:
                """Opens sessions and ends their agents, a few at a time; returns what is resident then."""
                for _ in range(0, count, AT_ONCE):
                    list(pool.map(lambda _: forge.create_session(agent=AGENT), range(AT_ONCE)))
                    for child in process.children():
                        child.kill()
                    until(lambda: not served.gateway.children(), "the agents' end")
                return int(process.memory_info().rss)

            count = stage.rounds(SESSIONS)
            before = add(WARM_UP)  # with what is made once, and what the allocator keeps
            each = (add(count) - before) / count
    return middle([idle / MB]), middle([each / 1000])


BENCH = Bench("weight", (SDK_IMPORT, GATEWAY_IMPORT, IDLE, ASLEEP), measure)
