"""Agents for tests: the scripted one with its faults at the start, and ones of a few lines."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clawdforge.testing import fake_agent
from harness import agent_log
from harness.gateway import Gateway, until

NewGateway = Callable[..., Gateway]

START_FAULTS = (
    *("exit0", "exit1", "exit137", "stderr-then-exit", "exit-new", "hang-initialize", "hang-new"),
    *("error-initialize", "error-new", "auth-required", "garbage-first", "garbage", "old-protocol 2"),
    *("no-session-id", "ignore-eof"),
)

NO_AGENTS = {
    "true": ["true"],
    "yes": ["yes"],
    "zeroes": ["head", "-c", "40000000", "/dev/zero"],
    "cat": ["cat"],
}
"""Programs that do not speak ACP."""

FLOODS_BEFORE_IT_IS_READY = """
import json, sys
line = json.dumps({"jsonrpc": "2.0", "method": "session/update", "params": {"sessionId": "s", "update": {
    "sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": "x" * 100_000}}}})
while True:
    print(line)
"""

SEEING = {"image": True, "embeddedContext": False}
"""What an agent can take in that gets pictures as pictures."""


def scripted(*arguments: str, **entry: Any) -> dict[str, Any]:
    """The entry of a scripted agent that asks before it acts."""
    env = {**agent_log.VARIABLE, **entry.pop("env", {})}
    return {"argv": fake_agent.argv(*arguments), "env": env, "ask_mode": "ask", **entry}


def faulty() -> dict[str, dict[str, Any]]:
    """Scripted agents: one for each fault at the start, one whose workspace says it, one that sees; and none."""
    return {
        **{f"fake-{fault.split()[0]}": scripted("--start-fault", fault) for fault in START_FAULTS},
        "moody": scripted("--start-fault", "@fault"),
        "sees": scripted(env={"FAKE_AGENT_CAPS": json.dumps({"promptCapabilities": SEEING})}),
        "absent": {"argv": ["no-program-has-this-name"]},
        "flood": python(FLOODS_BEFORE_IT_IS_READY),
        **{name: {"argv": argv} for name, argv in NO_AGENTS.items()},
    }


def python(code: str) -> dict[str, Any]:
    """The entry of an agent that is a few lines of Python."""
    return {"argv": [sys.executable, "-I", "-S", "-c", code]}


def until_exists(path: Path) -> None:
    """Waits for a file that a child of an agent makes."""
    until(path.exists, f"{path} to be made")
