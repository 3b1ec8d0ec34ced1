"""Starts hostile trees as a gateway starts agents, and kills them, one after another.

Arguments: the level of the sandbox, a directory that others may pass, how many trees, and the command line of one.
Says for each the milliseconds from the kill until its end is known, and how many of it are to be seen then.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import psutil

from clawdforge.server.agents import programs
from clawdforge.server.agents.process import ChildProcess
from clawdforge.server.agents.spawner import Command, Spawner
from clawdforge.server.agents.tree import adopt_orphans
from clawdforge.server.sandbox import probe
from clawdforge.server.sandbox.base import Space, Wall
from clawdforge.server.sandbox.limits import Exceeded

AGENT_UID = 64_001


class Owner:
    """Hears when a tree has grown."""

    def __init__(self) -> None:
        self.grown = asyncio.Event()
        self.failed = asyncio.Event()

    def on_line(self, line: bytes) -> None:
        self.grown.set()

    def on_broken(self, reason: str) -> None:
        pass

    def on_exit(self, code: int, exceeded: Exceeded | None) -> None:
        self.grown.set()


async def main() -> None:
    level, place, count, *argv = sys.argv[1:]
    adopt_orphans()
    with closing(probe.wall(level, Path(place), AGENT_UID)) as wall:  # type: ignore[arg-type]
        spawner = Spawner(wall)
        for number in range(int(count)):
            print(*await felled(spawner, space(wall, Path(place), number, argv), argv), flush=True)
        spawner.close()


async def felled(spawner: Spawner, space: Space, argv: Sequence[str]) -> tuple[float, int]:
    owner = Owner()
    command = Command(argv, {"PATH": os.defpath}, space, f"bench:{space.workspace.name}", 100)
    process = await ChildProcess.start(spawner, command, owner)
    await owner.grown.wait()
    assert process.running, process.stderr_tail()
    began = time.perf_counter()
    await process.end(now=True)
    lasted_ms = (time.perf_counter() - began) * 1000
    return lasted_ms, sum(each.info["cmdline"] == list(argv) for each in psutil.process_iter(["cmdline"]))


def space(wall: Wall, place: Path, number: int, argv: Sequence[str]) -> Space:
    made = [place / f"{name}-{number}" for name in ("workspace", "home", "files")]
    for path in made:
        path.mkdir()
        if wall.agent_uid is not None:
            os.chown(path, wall.agent_uid, wall.agent_uid)
    return Space(*made, programs=programs.consists_of(argv))


asyncio.run(main())
