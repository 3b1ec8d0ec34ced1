"""Trees of processes behind each wall, started and ended as a gateway does: how they end, and what they tell."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import closing
from itertools import count
from pathlib import Path

import psutil
import pytest

from clawdforge.server.agents import programs
from clawdforge.server.agents.process import ChildProcess
from clawdforge.server.agents.spawner import Command, Spawner
from clawdforge.server.sandbox import probe
from clawdforge.server.sandbox.base import Space, Wall
from clawdforge.server.sandbox.limits import Exceeded
from harness.gateway import until
from harness.stand import AGENT_UID, interpreter
from leaks.conftest import LEVELS

PATIENCE_S = 30
HOSTILE = Path(__file__).parents[2] / "bench" / "hostile.py"
SLEEPERS, FORKING = 40, 8
PUT_OFF = (
    "import resource, time\n"
    "try: resource.setrlimit(resource.RLIMIT_RTTIME, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
    "except (OSError, ValueError): pass\n"
)
_numbers = count()


class Owner:
    """Hears a process, and lets a test wait for what it hears."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.exit_code: int | None = None
        self._changed = asyncio.Event()

    def on_line(self, line: bytes) -> None:
        self.lines.append(line)
        self._changed.set()

    def on_broken(self, reason: str) -> None:
        self._changed.set()

    def on_exit(self, code: int, exceeded: Exceeded | None) -> None:
        self.exit_code = code
        self._changed.set()

    async def until_told(self, process: ChildProcess) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not self.lines:
                assert self.exit_code is None, process.stderr_tail()
                self._changed.clear()
                await self._changed.wait()


@pytest.fixture(scope="module", params=LEVELS)
def wall(place: Path, request: pytest.FixtureRequest) -> Iterator[Wall]:
    shutil.copy(HOSTILE, place / "program")
    with closing(probe.wall(request.param, place, AGENT_UID)) as made:
        yield made


@pytest.fixture
async def spawner(wall: Wall) -> AsyncIterator[Spawner]:
    made = Spawner(wall)
    yield made
    made.close()


async def start(
    spawner: Spawner, wall: Wall, place: Path, arguments: Sequence[str]
) -> tuple[ChildProcess, Owner, list[str]]:
    """Starts a Python, and waits until it has told something. Returns its command line too."""
    number = next(_numbers)
    made = [place / f"{name}-{number}" for name in ("workspace", "home", "files")]
    for path in made:
        path.mkdir()
        if wall.agent_uid is not None:
            os.chown(path, wall.agent_uid, wall.agent_uid)
    argv = [interpreter().path, "-I", "-S", *arguments]
    space = Space(*made, programs=programs.consists_of(argv))
    owner = Owner()
    mark = f"test-{os.getpid()}:{number}"
    process = await ChildProcess.start(spawner, Command(argv, {"PATH": os.defpath}, space, mark, 1000), owner)
    await owner.until_told(process)
    return process, owner, argv


def running(argv: Sequence[str]) -> list[int]:
    seen = psutil.process_iter(["cmdline", "status"])
    return [each.pid for each in seen if each.info["cmdline"] == list(argv)]


async def test_one_that_forks_for_ever_is_gone(spawner: Spawner, wall: Wall, place: Path) -> None:
    arguments = [str(place / "program" / HOSTILE.name), str(SLEEPERS), str(FORKING)]
    process, owner, argv = await start(spawner, wall, place, arguments)
    assert len(running(argv)) > SLEEPERS
    await process.end(now=True)
    assert running(argv) == []
    assert owner.exit_code == -9


async def test_what_an_agent_leaves_is_gone_before_its_exit_is_told(
    spawner: Spawner, wall: Wall, place: Path
) -> None:
    code = (
        "import os, sys, time\n"
        "for n in range(20):\n"
        "    if os.fork() == 0: os.setsid() if n % 2 else None; time.sleep(600)\n"
        "print('left', flush=True); sys.stdin.read(); os._exit(7)"
    )
    process, owner, argv = await start(spawner, wall, place, ["-c", code])
    assert len(running(argv)) == 21
    await process.end(now=False)
    assert (running(argv), owner.exit_code) == ([], 7)


async def test_an_agent_is_asked_before_it_is_killed(spawner: Spawner, wall: Wall, place: Path) -> None:
    code = (
        "import os, signal, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (os.write(1, b'asked\\n'), os._exit(3)))\n"
        "told, tell = os.pipe()\n"
        "os.fork() or (os.setsid(), os.write(tell, b'.'), time.sleep(600))\n"
        "os.read(told, 1); print('up', flush=True); time.sleep(600)"
    )
    process, owner, argv = await start(spawner, wall, place, ["-c", code])
    await process.end(now=False, heeds_eof=False)
    assert owner.lines == [b"up", b"asked"]
    assert (running(argv), owner.exit_code) == ([], 3)


async def test_marks_can_be_put_off_only_where_no_wall_keeps_them(
    spawner: Spawner, wall: Wall, place: Path
) -> None:
    """What has put them off is gone with the last agent."""
    bystander, _, _ = await start(spawner, wall, place, ["-c", "print('there', flush=True); input()"])
    sleeper = f"{PUT_OFF}print('hidden', flush=True); time.sleep(600)"
    code = (
        "import os, sys\n"
        f"argv = [sys.executable, '-I', '-S', '-c', {sleeper!r}]\n"
        "os.fork() or (os.setsid(), os.fork() and os._exit(0), os.execve(argv[0], argv, {}))\n"
        "os.wait(); input()"
    )
    process, _, argv = await start(spawner, wall, place, ["-c", code])
    hidden = [*argv[:-1], sleeper]
    assert len(running(hidden)) == 1
    await process.end(now=True)
    assert len(running(hidden)) == (wall.level == "none")
    await bystander.end(now=True)
    assert running(hidden) == []


async def test_orphans_that_end_are_not_kept(spawner: Spawner, wall: Wall, place: Path) -> None:
    """While their agent lives: it may go on for days."""
    code = (
        "import os\n"
        "for _ in range(50):\n"
        "    if os.fork() == 0: os.fork(); os._exit(0)\n"
        "    os.wait()\n"
        "print('done', flush=True); input()"
    )
    process, _, _ = await start(spawner, wall, place, ["-c", code])
    await asyncio.to_thread(until, lambda: zombies() == [], "orphans to be reaped")
    await process.end(now=False)


def zombies() -> list[int]:
    children = psutil.Process().children()
    return [each.pid for each in children if each.is_running() and each.status() == psutil.STATUS_ZOMBIE]
