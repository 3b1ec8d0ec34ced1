"""What processes take, told of real ones."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

from clawdforge.server.agents import footprint
from clawdforge.server.agents.footprint import Footprint

MIB = 1024 * 1024
# Takes what it is told to, forks as often, says so, and waits.
HOLDER = """
import os, sys, threading
held = bytearray(b"x") * int(sys.argv[1])
waiting = threading.Event()
for _ in range(int(sys.argv[3])):
    threading.Thread(target=waiting.wait, daemon=True).start()
children = []
for _ in range(int(sys.argv[2])):
    if (child := os.fork()) == 0:
        sys.stdin.read()
        os._exit(0)
    children.append(child)
print(*children, flush=True)
sys.stdin.read()
"""


@contextmanager
def holding(size_bytes: int = 0, forks: int = 0, threads: int = 0) -> Iterator[list[int]]:
    """The pids of a process with so much memory, and its children."""
    argv = [sys.executable, "-I", "-W", "ignore", "-c", HOLDER, str(size_bytes), str(forks), str(threads)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdin and holder.stdout
        yield [holder.pid, *map(int, holder.stdout.readline().split())]
        holder.stdin.close()


def test_memory_is_what_is_really_held() -> None:
    with holding(100 * MIB) as pids:
        assert 100 * MIB <= footprint.taken(pids).memory_bytes < 150 * MIB
        assert 100 * MIB <= footprint.share_bytes(pids) < 150 * MIB


def test_what_forks_share_is_one_share() -> None:
    with holding(100 * MIB, forks=4) as pids:
        assert footprint.taken(pids).memory_bytes > 500 * MIB
        assert 100 * MIB <= footprint.share_bytes(pids) < 200 * MIB


def test_what_lets_nobody_look_into_it_is_counted_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """As an ordinary user sees a process that has made itself undumpable."""
    # Each file is read once: between two looks the kernel's own count of a process's pages moves.
    told = cache(footprint._numbers)
    monkeypatch.setattr(footprint, "_numbers", lambda path: {} if path.endswith("/smaps_rollup") else told(path))
    with holding(64 * MIB, forks=2) as pids:
        assert footprint.share_bytes(pids) == footprint.taken(pids).memory_bytes > 3 * 64 * MIB


def test_every_thread_counts() -> None:
    with holding(forks=3, threads=5) as pids:
        assert footprint.taken(pids).threads == 1 + 5 + 3


def test_what_is_gone_takes_nothing() -> None:
    with holding() as pids:
        pass
    assert footprint.taken(pids) == Footprint(0, 0)
    assert footprint.share_bytes(pids) == 0
    assert footprint.unlinked_bytes(pids, 0) == 0


@pytest.mark.parametrize("unlinked", [True, False])
def test_files_without_a_name_are_seen(tmp_path: Path, unlinked: bool) -> None:
    path = tmp_path / "file"
    with path.open("wb") as file:
        file.write(bytes(MIB))
        file.flush()
        if unlinked:
            path.unlink()
        again = os.dup(file.fileno())
        found = footprint.unlinked_bytes([os.getpid()], tmp_path.stat().st_dev)
        os.close(again)
    assert (found >= MIB) is unlinked


def test_files_without_a_name_of_another_device_are_no_matter(tmp_path: Path) -> None:
    fd = os.memfd_create("elsewhere")
    os.write(fd, bytes(64 * MIB))
    try:
        assert footprint.unlinked_bytes([os.getpid()], tmp_path.stat().st_dev) < 64 * MIB
    finally:
        os.close(fd)
