"""What settings make of limits, and the sentences about them."""

from __future__ import annotations

from pathlib import Path

import pytest

from clawdforge.server.sandbox import limits
from clawdforge.server.sandbox.base import Limits
from clawdforge.server.settings import GIB, MIB, Settings


def test_what_is_set_to_nothing_is_not_limited(tmp_path: Path) -> None:
    settings = Settings(
        data_dir=tmp_path,
        agent_memory_bytes=0,
        agent_processes=0,
        agent_open_files=0,
        agent_file_bytes=0,
        workspace_bytes=0,
        agent_tmp_bytes=MIB,
    )
    assert limits.asked(settings) == Limits(tmp_bytes=MIB)


def test_each_setting_is_a_limit(tmp_path: Path) -> None:
    settings = Settings(
        data_dir=tmp_path,
        agent_memory_bytes=1,
        agent_processes=2,
        agent_cpu_cores=0.5,
        agent_open_files=4,
        agent_file_bytes=5,
        agent_tmp_bytes=6 * MIB,
        workspace_bytes=7,
    )
    assert limits.asked(settings) == Limits(1, 2, 0.5, 4, 5, 6 * MIB, 7)


@pytest.mark.parametrize(
    ("size_bytes", "told"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (64 * MIB, "64 MiB"),
        (4 * GIB, "4 GiB"),
        (3 * GIB // 2, "1.5 GiB"),
        (1536, "1.5 KiB"),
    ],
)
def test_an_amount_is_told_for_a_person(size_bytes: int, told: str) -> None:
    assert limits.amount(size_bytes) == told


def test_each_sentence_says_how_much() -> None:
    told = [
        limits.memory(4 * GIB),
        limits.processes(50),
        limits.file(8 * GIB),
        limits.workspace(10 * GIB, 11 * GIB),
        limits.workspace(10 * GIB, None),
    ]
    assert [(each.limit, each.detail) for each in told] == [
        ("memory", "the agent used more than its 4 GiB of memory"),
        ("processes", "the agent ran more than its 50 processes"),
        ("file", "the agent wrote more than 8 GiB into one file"),
        ("workspace", "the session's workspace and home hold 11 GiB, and may hold 10 GiB"),
        ("workspace", "the session's workspace and home hold more than can be counted, and may hold 10 GiB"),
    ]
