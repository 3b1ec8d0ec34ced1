"""Gateways at another level than their own choice, for tests that are about it.

Where no wall moves anything, an agent that is not root finds only what everybody may pass and read: neither the
directories that pytest makes, nor every Python of root's.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clawdforge.server.workspaces import removal
from clawdforge.testing import fake_agent
from harness import agents
from harness.gateway import Gateway
from harness.stand import ROOT, interpreter


def python_for_all() -> str:
    """A Python that everybody may run."""
    python = interpreter()
    assert python.for_all or not ROOT, "no Python here can be run by everybody: install python3 into /usr"
    return python.path


def agent_for_all(root: Path) -> dict[str, Any]:
    """The command line of the scripted agent and what it reads, copied to a directory that everybody may pass."""
    shown = root / "shown"  # Python looks around where a package lies
    shutil.copytree(Path(fake_agent.__file__).parent, shown / "fake_agent")
    return {"argv": [python_for_all(), "-I", "-S", str(shown / "fake_agent")], "readable": [str(shown)]}


@contextmanager
def gateway_at(level: str | None, **settings: Any) -> Iterator[Gateway]:
    """A gateway with one agent, `fake`; not started. Nothing of it is left afterwards.

    Args:
        level: None: its own choice.
        settings: more of its settings.
    """
    root = Path(tempfile.mkdtemp(prefix="gateway-at-", dir="/var/tmp"))
    try:
        root.chmod(0o711)
        fake = agents.scripted(**agent_for_all(root))
        settings = {"cancel_timeout_secs": 0.5, **settings} | ({"sandbox": level} if level else {})
        gateway = Gateway(root, agents={"fake": fake}, settings=settings)
        try:
            yield gateway
        finally:
            gateway.close()
    finally:
        removal.remove(root)  # whatever agents have made of it
