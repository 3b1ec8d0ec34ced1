"""A gateway with the real agents as shipped in the catalog, whose models are the scripted one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from clawdforge.server.agents.known import BUILT_IN
from clawdforge.testing.fake_model import FakeModel
from clawdforge.testing.stories import pointed
from harness.gateway import Gateway

API_KEY = "sk-scripted-0123456789"


def gateway_of(root: Path, node_agents: Path, model: FakeModel, user_home: Path, **settings: Any) -> Gateway:
    """Not started yet. Its agents stand behind bubblewrap, and reach the scripted model alone.

    They are on its PATH. claude's key is in its environment, and there are no settings for it.
    """
    env = {
        "PATH": f"{node_agents}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(user_home),
        "ANTHROPIC_API_KEY": API_KEY,
        "ANTHROPIC_BASE_URL": model.url,
        "NOT_FOR_AGENTS": "hands off",
    }
    others = [entry for entry in BUILT_IN.values() if entry.scripted is not None and entry.name != "claude"]
    agents = {entry.name: pointed.settings(entry, entry.argv, model.url) for entry in others}
    return Gateway(root, env=env, agents=agents, settings={"sandbox": "bwrap", "network": "none", **settings})
