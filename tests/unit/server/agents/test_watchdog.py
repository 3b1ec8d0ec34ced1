"""What is told of processes and directories that take too much, round by round."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from clawdforge.server.agents import footprint, watchdog
from clawdforge.server.agents.sight import Sight
from clawdforge.server.agents.watchdog import Watchdog, Watched
from clawdforge.server.sandbox.base import Limits
from clawdforge.server.sandbox.limits import Exceeded

MIB = 1024 * 1024


def ours(_: Sight) -> list[int]:
    return [os.getpid()]


class Told:
    """Hears what is exceeded."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[Exceeded] = asyncio.Queue()

    def watched(
        self, limits: Limits, *directories: Path, pids: Callable[[Sight], Sequence[int]] = ours
    ) -> Watched:
        return Watched(pids, directories, limits, self.heard.put_nowait)

    async def next(self) -> Exceeded:
        async with asyncio.timeout(20):
            return await self.heard.get()


@pytest.mark.parametrize(
    ("limits", "limit"),
    [
        (Limits(memory_bytes=MIB), "memory"),
        (Limits(processes=0), "processes"),
        (Limits(workspace_bytes=MIB), "workspace"),
    ],
)
async def test_a_limit_that_is_passed_is_told(tmp_path: Path, limits: Limits, limit: str) -> None:
    (tmp_path / "big").write_bytes(bytes(2 * MIB))
    told, dog = Told(), Watchdog(0.01)
    watched = told.watched(limits, tmp_path)
    dog.watch(watched)
    assert (await told.next()).limit == limit
    dog.leave(watched)


async def test_who_has_left_hears_nothing_and_nobody_is_looked_after(tmp_path: Path) -> None:
    told, other, dog = Told(), Told(), Watchdog(0.01)
    watched = told.watched(Limits(processes=0), tmp_path)
    staying = other.watched(Limits(processes=0), tmp_path)
    for each in (watched, staying):
        dog.watch(each)
    await told.next()
    dog.leave(watched)
    while not told.heard.empty():
        told.heard.get_nowait()
    for _ in range(3):
        await other.next()
    assert told.heard.empty()
    dog.leave(staying)
    assert dog._task is None


async def test_a_look_that_fails_by_a_fault_of_ours_is_told_and_ends_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def faulty(_: Sight) -> list[int]:
        raise ValueError("a fault of ours")

    told, dog = Told(), Watchdog(0.01)
    faulted = told.watched(Limits(processes=0), tmp_path, pids=faulty)
    sound = told.watched(Limits(processes=0), tmp_path)
    for each in (faulted, sound):
        dog.watch(each)
    for _ in range(3):
        await told.next()
    for each in (faulted, sound):
        dog.leave(each)
    assert "a fault of ours" in caplog.text


async def test_one_that_cannot_be_seen_does_not_hide_the_others(tmp_path: Path) -> None:
    def refused(_: Sight) -> list[int]:
        raise OSError("nothing can be seen")

    told, dog = Told(), Watchdog(0.01)
    blind = told.watched(Limits(memory_bytes=1), tmp_path, pids=refused)
    gone = told.watched(Limits(workspace_bytes=1), tmp_path / "gone")
    seen = told.watched(Limits(processes=0), tmp_path)
    for each in (blind, gone, seen):
        dog.watch(each)
    assert (await told.next()).limit == "processes"
    for each in (blind, gone, seen):
        dog.leave(each)


class Disk:
    """A disk's free bytes, and a count of how often directories were counted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.free_bytes = 1 << 40
        self.counts = 0
        self.held_bytes = 10 * MIB
        monkeypatch.setattr(watchdog.os, "statvfs", lambda _: self)
        monkeypatch.setattr(watchdog, "held", self._held)
        monkeypatch.setattr(watchdog, "_REST", 0)
        monkeypatch.setattr(footprint, "unlinked_bytes", lambda *_: 0)

    f_frsize = 1

    @property
    def f_bfree(self) -> int:
        return self.free_bytes

    def _held(self, *_: object) -> int:
        self.counts += 1
        return self.held_bytes


def test_files_are_counted_again_only_when_the_disk_says_that_they_could_be_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    watched = Watched(ours, (tmp_path,), Limits(workspace_bytes=100 * MIB), lambda _: None)
    for _ in range(5):
        assert watched.look(Sight()) is None
    assert disk.counts == 1
    disk.free_bytes -= 80 * MIB
    assert watched.look(Sight()) is None
    disk.free_bytes += 80 * MIB  # somebody else has made room: what was written stays written
    assert watched.look(Sight()) is None
    assert disk.counts == 1
    disk.free_bytes -= 20 * MIB
    assert watched.look(Sight()) is None
    assert disk.counts == 2
    disk.held_bytes = 101 * MIB
    disk.free_bytes -= 91 * MIB
    exceeded = watched.look(Sight())
    assert exceeded is not None
    assert exceeded.detail == "the session's workspace and home hold 101 MiB, and may hold 100 MiB"
