"""What was begun is done, whoever waits for it."""

from __future__ import annotations

import asyncio

import pytest

from clawdforge.server.agents.uncut import uncut


async def test_what_comes_of_it_is_told() -> None:
    async def work() -> int:
        await asyncio.sleep(0)
        return 7

    assert await uncut(work()) == 7


async def test_its_error_is_told() -> None:
    async def work() -> None:
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        await uncut(work())


async def test_it_is_done_however_often_its_waiter_is_cancelled() -> None:
    let_go, done = asyncio.Event(), False

    async def work() -> None:
        nonlocal done
        await let_go.wait()
        done = True

    waiting = asyncio.ensure_future(uncut(work()))
    for _ in range(3):
        await asyncio.sleep(0)
        waiting.cancel()
    await asyncio.sleep(0)
    assert not waiting.done()
    let_go.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert done
