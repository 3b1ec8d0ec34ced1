"""What the wall costs: an agent's start, a turn, and the memory of many that do nothing."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from itertools import count
from pathlib import Path
from typing import Any

import psutil

from bench.clients import RawAgent
from bench.rows import AGENT, Bar, Bench, Findings, Stage
from bench.sampling import Samples, combined, interleaved, middle, milliseconds
from clawdforge.server.agents import programs
from clawdforge.server.sandbox import bounds, cgroups, limits, probe, spawning
from clawdforge.server.sandbox.base import Space, Wall
from clawdforge.server.sandbox.bounds import Bounds
from clawdforge.server.settings import Settings
from clawdforge.testing import fake_agent

STARTS = 100
TURNS = 1000
WARM_UP = 5
IDLE_AGENTS = 100
AT_ONCE = 10
AGENT_UID = 64_001
MB = 1_000_000

START = Bar("wall.start", "an agent's start behind bwrap, up to its session, over the bare one's, p50", "ms", 8)
TURN = Bar("wall.turn", "a turn of an agent behind bwrap over the bare one's, on a raw pipe, p50", "ms", 0.05)
IDLE = Bar("wall.idle", "100 idle agents behind bwrap, without network and with a relay each, PSS", "MB", 600)


def measure(stage: Stage) -> Findings:
    """The rows of the wall."""
    name = f"bench-{os.getpid()}"
    with (
        closing(probe.wall("bwrap", stage.root, AGENT_UID)) as wall,
        closing(bounds.find(limits.asked(Settings(data_dir=stage.root)), name)) as kept,
        ExitStack() as undo,
    ):
        undo.callback(cgroups.clear, name)
        start = _starter(wall, kept, stage.root)
        started = _starts({"bare": RawAgent, "walled": lambda: RawAgent(start=start)}, stage.rounds(STARTS))
        with RawAgent() as bare, RawAgent(start=start) as walled:
            turns = interleaved(
                {"bare": lambda: bare.prompt("hello"), "walled": lambda: walled.prompt("hello")},
                stage.rounds(TURNS),
                WARM_UP,
            )
    over = {"walled": 1, "bare": -1}
    agents_mb, gateway_mb = _idle_mb(stage)
    return Findings(
        {
            START.name: combined(started, over, 0.5),
            TURN.name: combined(turns, over, 0.5),
            IDLE.name: middle([agents_mb + gateway_mb]),
        },
        [
            ("the bare agent's start", f"{started['bare'].percentile(0.5):.1f} ms p50"),
            ("the idle agents with their walls, without what the gateway grew by", f"{agents_mb:.0f} MB PSS"),
        ],
    )


def _starts(candidates: Mapping[str, Callable[[], RawAgent]], rounds: int) -> dict[str, Samples]:
    """How long each takes to start; its end does not count."""
    taken: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(WARM_UP + rounds):
        for name, start in candidates.items():
            agents: list[RawAgent] = []
            lasted = milliseconds(lambda: agents.append(start()))  # noqa: B023 - called here
            agents[0].close()
            if number >= WARM_UP:
                taken[name].append(lasted)
    return {name: Samples(tuple(values)) for name, values in taken.items()}


def _starter(wall: Wall, kept: Bounds, root: Path) -> Callable[..., subprocess.Popen[bytes]]:
    """Starts a command behind the wall and within the usual limits, each time with directories of its own."""
    numbers = count()

    def start(argv: Sequence[str], **streams: Any) -> subprocess.Popen[bytes]:
        session_id = f"session-{next(numbers)}"
        made = [root / session_id / name for name in ("workspace", "home", "files")]
        for path in made:
            path.mkdir(parents=True)
            if wall.agent_uid is not None:
                os.chown(path, wall.agent_uid, wall.agent_uid)
        space = Space(*made, programs=programs.consists_of(argv), limits=kept.rest)
        enclosed = wall.enclose(argv, {"PATH": os.defpath}, space)
        return spawning.popen(enclosed, kept.group(session_id), **streams)

    return start


def _idle_mb(stage: Stage) -> tuple[float, float]:
    """What the processes of idle sessions weigh, and what they made the gateway grow by."""
    agents = {AGENT: {"argv": fake_agent.argv(), "ask_mode": "ask", "base_url": "http://127.0.0.1:9"}}
    settings = {"sandbox": "bwrap", "network": "none"}
    with stage.gateway(settings=settings, agents=agents) as served, served.forge() as forge:
        forge.create_session(agent=AGENT)  # what is made once
        before = _pss(served.gateway.pid)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda _: forge.create_session(agent=AGENT), range(IDLE_AGENTS)))
        grown = _pss(served.gateway.pid) - before
        children = psutil.Process(served.gateway.pid).children(recursive=True)
        weight = sum(_pss(each.pid) for each in children) * IDLE_AGENTS / (IDLE_AGENTS + 1)
    return weight / MB, grown / MB


def _pss(pid: int) -> int:
    """Resident bytes, of shared pages each process's part; 0 for one that has ended."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


BENCH = Bench("wall", (START, TURN, IDLE), measure)
