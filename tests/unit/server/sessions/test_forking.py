"""Who waits for whom when workspaces are copied. What a fork is: `e2e/test_forks.py`, by real gateways."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any, cast

import pytest

from clawdforge.server.sessions import forking
from clawdforge.server.sessions.forking import Forking
from clawdforge.server.settings import Settings
from clawdforge.server.store.stored import SessionRow

DEADLINE_S = 10


def row_of(app_id: str, session_id: str) -> SessionRow:
    return SessionRow(session_id, app_id, app_id, "session", "fake", "/none", {}, {}, 1)


async def test_an_app_that_forks_much_keeps_no_other_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may, copied = threading.Event(), list[str]()

    def copy(_: Forking, source: SessionRow, row: SessionRow, unwanted: object) -> None:
        if source.app_id == "slow":
            assert may.wait(DEADLINE_S)
        copied.append(row.session_id)

    monkeypatch.setattr(Forking, "_copy", copy)
    nothing = cast("Any", None)
    forks = Forking(Settings(data_dir=tmp_path), nothing, nothing, nothing, nothing, nothing, nothing)
    slow = [
        asyncio.ensure_future(forks._copied(row_of("slow", "source"), row_of("slow", f"slow-{number}")))
        for number in range(forking.AT_ONCE + 1)
    ]
    await asyncio.sleep(0)  # all of them have asked
    try:
        async with asyncio.timeout(DEADLINE_S / 2):
            await forks._copied(row_of("other", "source"), row_of("other", "of-other"))
        assert copied == ["of-other"]
    finally:
        may.set()
        await asyncio.gather(*slow)
    assert copied[1:] == [f"slow-{number}" for number in range(forking.AT_ONCE + 1)]
