"""What an intruder takes of the machine ends where its limits are, as far as a process carries them with it."""

from __future__ import annotations

import os

from clawdforge.server.sandbox.base import Limits
from harness import intruder, intruder_calls
from harness.stand import MIB, Stand


def test_files_and_open_files_are_bounded(stand: Stand) -> None:
    space = stand.space("bounded", limits=Limits(open_files=40, file_bytes=MIB))
    filled, opened = stand.tries(space, (intruder.fill, "file"), (intruder.open_many,))
    assert filled["got"] == {"bytes": MIB, "stopped": "EFBIG"}
    assert opened["got"]["files"] < 40
    assert opened["got"]["stopped"] == "EMFILE"


def test_what_was_limited_stays_limited(stand: Stand) -> None:
    space = stand.space("bounded", limits=Limits(open_files=40))
    stand.shuts_out(space, (intruder_calls.raise_limit,))


def test_no_core_is_ever_dumped(stand: Stand) -> None:
    """It would hold what was in the agent's memory, and be as large."""
    space = stand.space("own", limits=Limits(open_files=40))
    cores, crashed = stand.tries(space, (intruder_calls.core_limits,), (intruder_calls.crash,))
    assert cores == {"got": (0, 0)}
    assert crashed == {"refused": "SIGSEGV"}
    assert os.listdir(space.workspace) == []
