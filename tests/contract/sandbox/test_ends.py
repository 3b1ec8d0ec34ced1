"""What is behind a wall of namespaces is gone with it, whatever it has become."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from clawdforge.server.sandbox import spawning
from clawdforge.server.sandbox.base import Limits
from harness import intruder
from harness.stand import LEGS, Stand

GONE_WITHIN_S = 10.0
PARENT = "import subprocess, sys; subprocess.Popen(sys.argv[2:], pass_fds=eval(sys.argv[1])); sys.stdin.read()"


def inside(mark: str) -> list[int]:
    """Every process that carries this in its environment; what has ended has none."""
    found = []
    for pid in psutil.pids():
        with suppress(OSError):
            if f"WALL_TEST={mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                found.append(pid)
    return found


def wait_until_gone(mark: str) -> None:
    end_at = time.monotonic() + GONE_WITHIN_S
    while left := inside(mark):
        assert time.monotonic() < end_at, left
        time.sleep(0.01)


WALLS = pytest.mark.parametrize("stand", [leg for leg in LEGS if leg.startswith("bwrap")], indirect=True)


@WALLS
def test_a_killed_wall_takes_all_with_it(stand: Stand) -> None:
    mark = f"{os.getpid()}-{id(stand)}"
    started, _ = stand.start(stand.space("own"), stand.intruder((intruder.outlive,)), {"WALL_TEST": mark})
    with started:
        assert started.stdout is not None
        assert started.stdout.readline() == "settled\n"
        before = inside(mark)
        started.send_signal(signal.SIGKILL)
        assert len(before) >= 3, "the intruder and its two daemons"
        wait_until_gone(mark)


@WALLS
def test_a_killed_gateway_takes_all_with_it(stand: Stand) -> None:
    mark = f"{os.getpid()}-{id(stand)}"
    space = stand.space("own")
    enclosed = stand.wall.enclose(
        stand.intruder((intruder.outlive,)), {"PATH": os.defpath, "WALL_TEST": mark}, space
    )
    gateway = subprocess.Popen(
        [stand.ground.python.path, "-I", "-c", PARENT, repr(enclosed.fds), *enclosed.argv],
        env=dict(enclosed.env),
        cwd="/",
        pass_fds=enclosed.fds,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **spawning.as_user(stand.spawn_as),
    )
    enclosed.close()
    with gateway:
        assert gateway.stdout is not None
        assert gateway.stdout.readline() == "settled\n"
        gateway.send_signal(signal.SIGKILL)
        gateway.wait()
        wait_until_gone(mark)


@WALLS
def test_an_exit_tells_of_the_signal(stand: Stand) -> None:
    started, _ = stand.start(stand.space("own"), ("/bin/sh", "-c", "kill -SEGV $$"))
    with started:
        started.communicate(timeout=30)
    assert stand.wall.exit_offset is not None
    assert started.returncode - stand.wall.exit_offset == signal.SIGSEGV


@pytest.mark.parametrize("stand", ["bwrap-user"], indirect=True)
def test_a_fork_bomb_is_bounded_where_its_namespace_is_its_own(stand: Stand) -> None:
    space = stand.space("own", limits=Limits(processes=50))
    told = stand.attack(space, intruder.multiply)["got"]
    assert told["stopped"] == "EAGAIN"
    assert told["processes"] < 50
