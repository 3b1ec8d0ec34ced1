"""A stage of one's own for an agent of this machine: scripted model, gateway, app: gone in the end."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from clawdforge.client.forge import Forge
from clawdforge.server.agents.entry import AgentEntry
from clawdforge.testing.fake_model import FakeModel
from clawdforge.testing.stories import pointed
from clawdforge.testing.stories.gateway import own_gateway
from clawdforge.testing.stories.stage import Stage

_TURN_DEADLINE_SECS: Final = 60


@contextmanager
def stage_for(entry: AgentEntry, argv: Sequence[str]) -> Iterator[Stage]:
    """Where an agent plays stories, with no login and out of reach of anything that its user keeps.

    Args:
        entry: of the catalog, the user's settings included.
        argv: the command line that starts it here (`available.find`).

    Raises:
        NoWay: its entry does not say how to point it at a scripted model.
        GatewayFailed: the gateway did not start.
    """
    with FakeModel() as model, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        settings = pointed.settings(entry, argv, model.url)
        root, outside = Path(folder) / "gateway", Path(folder) / "outside"
        root.mkdir()
        outside.mkdir()
        with (
            own_gateway({entry.name: settings}, root) as gateway,
            Forge(base_url=gateway.url, token=gateway.token, default_timeout_secs=_TURN_DEADLINE_SECS) as forge,
        ):
            yield Stage(forge, model, entry.name, outside)
