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

from clawdforge.testing import fake_agent
from harness import agents
from harness.gateway import Gateway
from harness.stand import interpreter


@contextmanager
def gateway_at(level: str, **settings: Any) -> Iterator[Gateway]:
    """A gateway with one agent, `fake`; not started. Nothing of it is left afterwards."""
    python = interpreter()
    assert python.for_all, "no Python here can be run by everybody: install python3 into /usr"
    root = Path(tempfile.mkdtemp(prefix=f"{level}-", dir="/var/tmp"))
    try:
        root.chmod(0o711)
        shown = root / "shown"  # Python looks around where a package lies
        shutil.copytree(Path(fake_agent.__file__).parent, shown / "fake_agent")
        fake = agents.scripted(argv=[python.path, "-I", "-S", str(shown / "fake_agent")], readable=[str(shown)])
        settings = {"sandbox": level, "cancel_timeout_secs": 0.5, **settings}
        gateway = Gateway(root, agents={"fake": fake}, settings=settings)
        try:
            yield gateway
        finally:
            gateway.close()
    finally:
        shutil.rmtree(root)
