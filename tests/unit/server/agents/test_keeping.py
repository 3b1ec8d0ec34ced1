"""What a child is told to have ended for: real processes, with limits of their own."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from clawdforge.server.agents.process import ChildProcess
from clawdforge.server.agents.spawner import Command, Spawner
from clawdforge.server.agents.watchdog import Watchdog
from clawdforge.server.sandbox.base import Limits, Space
from clawdforge.server.sandbox.bounds import Bounds
from clawdforge.server.sandbox.limits import Exceeded
from clawdforge.server.sandbox.none import NoWall

MIB = 1024 * 1024
LIMITS = Limits(memory_bytes=60 * MIB, processes=20, file_bytes=MIB, workspace_bytes=8 * MIB)
THREADS = "import threading, time\nfor _ in range(30): threading.Thread(target=time.sleep, args=[9]).start()"
SLEEP = "import time; time.sleep(600)"


class Owner:
    """Hears how a child has ended."""

    def __init__(self) -> None:
        self.ended: asyncio.Future[tuple[int, Exceeded | None]] = asyncio.get_running_loop().create_future()

    def on_line(self, line: bytes) -> None: ...

    def on_broken(self, reason: str) -> None: ...

    def on_exit(self, code: int, exceeded: Exceeded | None) -> None:
        self.ended.set_result((code, exceeded))


@pytest.fixture
async def spawner() -> AsyncIterator[Spawner]:
    """One that has no groups, and looks often."""
    spawner = Spawner(NoWall(), Bounds(LIMITS))
    spawner.watchdog = Watchdog(0.02)
    yield spawner
    spawner.close()


async def end_of(spawner: Spawner, place: Path, code: str) -> tuple[int, Exceeded | None]:
    """How a Python program ends."""
    owner = Owner()
    argv = [sys.executable, "-I", "-S", "-c", code]
    space = Space(place, place, place, limits=spawner.bounds.rest)
    command = Command(argv, {"PATH": os.environ["PATH"]}, space, f"test-{os.getpid()}:{id(owner)}", 1000)
    process = await ChildProcess.start(spawner, command, owner)
    async with asyncio.timeout(30):
        ended = await owner.ended
    await process.end(now=True)
    return ended


@pytest.mark.parametrize(
    ("code", "limit"),
    [
        (f"held = bytearray(b'x') * (100 << 20); {SLEEP}", "memory"),
        (f"import os\nfor _ in range(30):\n if os.fork() == 0: break\n{SLEEP}", "processes"),
        (f"{THREADS}\n{SLEEP}", "processes"),
        (f"import os\nfor _ in range(30):\n if os.fork() == 0: os.setsid(); break\n{SLEEP}", "processes"),
        (f"for each in range(12): open(str(each), 'wb').write(bytes(1 << 20))\n{SLEEP}", "workspace"),
        (f"import os\nfor each in range(3000): os.mkdir(str(each))\n{SLEEP}", "workspace"),
    ],
    ids=["memory", "processes", "threads", "daemons", "bytes", "entries"],
)
async def test_what_takes_too_much_is_ended_and_told(
    spawner: Spawner, tmp_path: Path, code: str, limit: str
) -> None:
    exit_code, exceeded = await end_of(spawner, tmp_path, code)
    assert exit_code == -9
    assert exceeded is not None
    assert exceeded.limit == limit


async def test_what_dies_of_a_file_too_large_is_told(spawner: Spawner, tmp_path: Path) -> None:
    code = "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_DFL); open('f', 'wb').write(bytes(2 << 20))"
    assert await end_of(spawner, tmp_path, code) == (
        -25,
        Exceeded("file", "the agent wrote more than 1 MiB into one file"),
    )


@pytest.mark.parametrize("code", ["raise SystemExit(3)", "import os; os.kill(os.getpid(), 9)"])
async def test_what_ends_for_other_reasons_is_told_none(spawner: Spawner, tmp_path: Path, code: str) -> None:
    _, exceeded = await end_of(spawner, tmp_path, code)
    assert exceeded is None


async def test_nobody_is_watched_where_nobody_runs(spawner: Spawner, tmp_path: Path) -> None:
    await asyncio.gather(*(end_of(spawner, tmp_path, "pass") for _ in range(5)))
    assert spawner.watchdog._watched == set()
    assert spawner.watchdog._task is None
