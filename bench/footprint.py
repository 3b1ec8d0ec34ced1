"""What clawdforge weighs where it does nothing: imports, an idle gateway, sessions that sleep."""

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
SESSIONS = 2000
WARM_UP = 200
AT_ONCE = 10
DROWSY_S = 0.2
MB = 1_000_000

SDK_IMPORT = Bar("weight.sdk-import", "`import clawdforge` with `Forge`, over `import requests`, CPU", "ms", 30)
GATEWAY_IMPORT = Bar("weight.gateway-import", "import of the gateway, over bare Python, CPU", "s", 0.6)
IDLE = Bar("weight.idle", "idle gateway, RSS", "MB", 65)
ASLEEP = Bar("weight.asleep", "a sleeping session, one more of many; RSS", "kB", 4)
SLEEPERS = Bar("sleep.weight", "2 000 sleeping sessions, over an idle gateway; RSS", "MB", 30)


def measure(stage: Stage) -> Findings:
    """The rows of imports and of idle memory."""
    sdk = _imports(stage.rounds(IMPORTS), base="import requests", full="import clawdforge; clawdforge.Forge")
    gateway = _imports(stage.rounds(GATEWAY_IMPORTS), base="pass", full="import clawdforge.server.main")
    return Findings(
        {
            SDK_IMPORT.name: quartiles([full - base for base, full in sdk]),
            GATEWAY_IMPORT.name: quartiles([(full - base) / 1000 for base, full in gateway]),
            **_memory(stage),
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


def _memory(stage: Stage) -> dict[str, Reading]:
    """An idle gateway's memory, and what many sessions add that each had a turn, and whose agents sleep since."""
    settings = {
        "max_sessions_per_app": SESSIONS,
        "max_running_turns": AT_ONCE,
        "agent_idle_secs": DROWSY_S,
        "reap_interval_secs": DROWSY_S,
    }
    with stage.gateway(settings=settings) as served, served.forge() as forge, ThreadPoolExecutor(AT_ONCE) as pool:
        process = psutil.Process(served.gateway.pid)

        def resident_with(more: int) -> int:
            """What is resident once so many more sessions sleep."""
            list(pool.map(lambda _: forge.create_session(agent=AGENT).turn("[[SAY x]]"), range(more)))
            until(lambda: not process.children(), "all agents to sleep")
            return int(process.memory_info().rss)

        count = stage.rounds(SESSIONS)
        idle = process.memory_info().rss
        warm = resident_with(WARM_UP)  # with what is made once, and what the allocator keeps
        asleep = resident_with(count - WARM_UP)
    return {
        IDLE.name: middle([idle / MB]),
        ASLEEP.name: middle([(asleep - warm) / (count - WARM_UP) / 1000]),
        SLEEPERS.name: middle([(asleep - idle) * SESSIONS / count / MB]),
    }


BENCH = Bench("weight", (SDK_IMPORT, GATEWAY_IMPORT, IDLE, ASLEEP, SLEEPERS), measure)
