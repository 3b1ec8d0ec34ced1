"""Waking a session whose Claude Code sleeps, against that agent's own start. Its model is the scripted one."""

from __future__ import annotations

import os
import subprocess
from functools import partial
from pathlib import Path

from bench.clients import RawAgent
from bench.rows import Bar, Bench, Findings, Stage
from bench.sampling import milliseconds, percentile, quartiles
from clawdforge import Session
from clawdforge.testing.fake_model import FakeModel
from harness.gateway import Gateway, until
from harness.real_agents import API_KEY, gateway_of

ROUNDS = 15
WARM_UP = 1
AGENTS = Path(__file__).parents[1] / ".cache/agents/pinned/node_modules/.bin"
PROGRAM = "claude-agent-acp"
PROMPT = "[[SAY x]]"
QUIET = (
    "DISABLE_TELEMETRY",
    "DISABLE_ERROR_REPORTING",
    "DISABLE_AUTOUPDATER",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC",
)

WAKE = Bar(
    "wake.claude", "a turn that wakes a sleeping claude, in terms of its own start and first turn, p50", "×", 1.1
)


def measure(stage: Stage) -> Findings:
    """The row of waking. Each round: the agent by itself, up to its first answer, and a turn that wakes one."""
    assert (AGENTS / PROGRAM).exists(), "the pinned agents are not installed: make test installs them"
    starts: list[float] = []
    wakes: list[float] = []
    home = stage.root / "user"
    home.mkdir()
    with FakeModel() as model:
        settings = {"agent_idle_secs": 0.2, "reap_interval_secs": 0.1}
        gateway = gateway_of(stage.root, AGENTS, model, home, **settings).start()
        try:
            with gateway.app("bench") as forge:
                session = forge.create_session(agent="claude")
                for _ in range(WARM_UP + stage.rounds(ROUNDS)):
                    starts.append(_started_ms(model, home))
                    _asleep(gateway, session)
                    wakes.append(milliseconds(lambda: session.turn(PROMPT)))
                session.close()
        finally:
            gateway.close()
    del starts[:WARM_UP], wakes[:WARM_UP]
    told = f"{percentile(starts, 0.5):.0f} ms p50, a turn that wakes it {percentile(wakes, 0.5):.0f}"
    return Findings(
        {WAKE.name: quartiles([wake / start for wake, start in zip(wakes, starts, strict=True)])},
        [("claude's own start and first turn", told)],
    )


def _asleep(gateway: Gateway, session: Session) -> None:
    until(lambda: not gateway.children(session), "claude to sleep")


def _started_ms(model: FakeModel, home: Path) -> float:
    """The agent with nothing between, in an environment as a gateway gives it, up to its first answer."""
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "ANTHROPIC_BASE_URL": model.url,
        "ANTHROPIC_API_KEY": API_KEY,
        **dict.fromkeys(QUIET, "1"),
    }
    agents: list[RawAgent] = []

    def start() -> None:
        agents.append(RawAgent([str(AGENTS / PROGRAM)], start=partial(subprocess.Popen, env=env)))
        agents[0].prompt(PROMPT)

    lasted = milliseconds(start)
    agents[0].close()
    return lasted


BENCH = Bench("wake", (WAKE,), measure)
