"""Apps for tests: each with a token of its own, and looked after when its test is done."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from clawdforge import Forge
from harness import ledger
from harness.gateway import Gateway
from harness.ledger import Ledger


@contextmanager
def tenant(gateway: Gateway) -> Iterator[Forge]:
    """A new app. In the end what it left open is closed, no agent of it is left, and the laws hold."""
    name = f"app-{uuid.uuid4().hex}"
    with gateway.app(name) as forge:
        yield forge
        close_all(forge)
    gateway.settle()
    ledger.check(Ledger(gateway.data_dir), name, gateway.agent_log)


def close_all(forge: Forge) -> None:
    for row in forge.list_sessions(include_closed=False)["sessions"]:
        forge.attach_session(row["session_id"]).close()
