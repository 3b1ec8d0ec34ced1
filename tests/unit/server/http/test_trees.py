"""Work on whole directories: a little at once, of one app one at a time, and short calls wait for none of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from clawdforge.server.http import trees
from clawdforge.server.http.trees import Trees

DEADLINE_S = 20


class Jobs:
    """Jobs that work until they are told to end."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.end = threading.Event()
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def job(self, name: str) -> str:
        self.begun.append(name)
        self._loop.call_soon_threadsafe(self._changed.set)
        assert self.end.wait(DEADLINE_S)
        return name

    async def until_begun(self, count: int) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while len(self.begun) < count:
                self._changed.clear()
                await self._changed.wait()


@pytest.fixture
async def jobs() -> Jobs:
    return Jobs()


@contextmanager
def ended(jobs: Jobs) -> Iterator[None]:
    try:
        yield
    finally:
        jobs.end.set()


async def test_of_one_app_one_is_done_at_a_time_and_of_all_a_few(jobs: Jobs) -> None:
    work = Trees()
    with ended(jobs):
        asked = [
            asyncio.create_task(work.run(name[0], partial(jobs.job, name))) for name in ("a1", "a2", "b1", "c1")
        ]
        await jobs.until_begun(trees.AT_ONCE)
        assert jobs.begun == ["a1", "b1"]
    assert await asyncio.gather(*asked) == ["a1", "a2", "b1", "c1"]


async def test_what_concerns_another_session_is_not_waited_for(jobs: Jobs) -> None:
    work = Trees()
    with ended(jobs):
        long = asyncio.create_task(work.run("app", lambda: jobs.job("long")))
        await jobs.until_begun(1)
        async with asyncio.timeout(DEADLINE_S), work.turn("sess_1"):
            assert work.turn("sess_1").locked()
            assert not work.turn("sess_2").locked()
    await long


async def test_what_fails_makes_room_for_the_next() -> None:
    work = Trees()

    def fail() -> None:
        raise OSError("as it happens")

    for _ in range(2 * trees.AT_ONCE):
        with pytest.raises(OSError, match="as it happens"):
            await work.run("app", fail)
    assert await work.run("app", lambda: "done") == "done"
