"""Waking a session whose Claude Code sleeps, against a new session's start. Its model is the scripted one."""

from __future__ import annotations

import os
import subprocess
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from bench.clients import RawAgent
from bench.rows import Bar, Bench, Findings, Stage
from bench.sampling import milliseconds, percentile, quartiles
from clawdforge import Forge
from clawdforge.testing.fake_model import FakeModel
from harness.gateway import until
from harness.real_agents import API_KEY, gateway_of

ROUNDS = 7
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
    "wake.claude", "a turn that wakes a sleeping claude, in terms of a new session and its first, p50", "×", 1.1
)


def measure(stage: Stage) -> Findings:
    """The row of waking. Each round: a new session, a turn that wakes an older one, claude by itself."""
    assert (AGENTS / PROGRAM).exists(), "the pinned agents are not installed: make test installs them"
    taken: dict[str, list[float]] = {"new": [], "woken": [], "bare": []}
    user = stage.root / "user"
    user.mkdir()
    with ExitStack() as closing:
        model = closing.enter_context(FakeModel())
        settings = {"agent_idle_secs": 0.2, "reap_interval_secs": 0.1}
        gateway = gateway_of(stage.root, AGENTS, model, user, **settings)
        closing.callback(gateway.close)
        gateway.start()
        forge = closing.enter_context(gateway.app("bench"))
        session = forge.create_session(agent="claude")
        session.turn(PROMPT)
        for _ in range(stage.rounds(ROUNDS)):
            taken["new"].append(milliseconds(partial(_begun, forge)))
            until(lambda: not gateway.children(), "claude to sleep")
            taken["woken"].append(milliseconds(lambda: session.turn(PROMPT)))
            taken["bare"].append(_bare_ms(model, stage.root))
    wakes = [woken / new for woken, new in zip(taken["woken"], taken["new"], strict=True)]
    told = ", ".join(f"{percentile(each, 0.5):.0f}" for each in taken.values())
    what = "claude up to its first answer: a new session's, a woken one's, with nothing between; p50"
    return Findings({WAKE.name: quartiles(wakes)}, [(what, f"{told} ms")])


def _begun(forge: Forge) -> None:
    forge.create_session(agent="claude").turn(PROMPT)


def _bare_ms(model: FakeModel, root: Path) -> float:
    """In an environment as a gateway gives it, with a home that is as new."""
    env = {
        "PATH": os.environ["PATH"],
        "HOME": tempfile.mkdtemp(dir=root),
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
