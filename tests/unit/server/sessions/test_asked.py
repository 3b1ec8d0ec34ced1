from __future__ import annotations

import asyncio

import pytest

from clawdforge.server.agents.base import Prompt
from clawdforge.server.sessions.asked import Accepted, Ask
from clawdforge.server.sessions.turn import Deadlines, Turn
from clawdforge.server.store.base import StorageError
from clawdforge.wire.problems import Problem

ACCEPTED = Accepted(1, 0)


@pytest.fixture
async def ask() -> Ask[str]:
    return Ask("sess_1", Turn(Prompt("hi", (), None), Deadlines(1, 1, None, 1)))


async def work(ask: Ask[str], *, accepted: bool = True, error: Exception | None = None) -> str:
    if accepted:
        ask.accepted.set_result(ACCEPTED)
    await asyncio.sleep(0)
    if error is not None:
        raise error
    return "done"


async def test_all_who_ask_hear_the_same(ask: Ask[str]) -> None:
    again = ask.again()
    assert (ask.replayed, again.replayed, again.session_id) == (False, True, "sess_1")
    await ask.told(work(ask))
    assert await ask.answer == await again.answer == "done"
    assert await again.accepted == ACCEPTED


async def test_what_fails_before_it_is_accepted_fails_for_who_waits_for_that(ask: Ask[str]) -> None:
    with pytest.raises(Problem):
        await ask.told(work(ask, accepted=False, error=Problem("session_closed", "closed")))
    for future in (ask.accepted, ask.answer):
        with pytest.raises(Problem, match="closed"):
            await future


async def test_what_fails_later_was_accepted_all_the_same(ask: Ask[str]) -> None:
    with pytest.raises(StorageError):
        await ask.told(work(ask, error=StorageError("full", full=True)))
    assert await ask.accepted == ACCEPTED
    with pytest.raises(StorageError):
        await ask.again().answer


async def test_a_failure_that_nobody_waits_for_is_no_noise(
    ask: Ask[str], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Problem):
        await ask.told(work(ask, accepted=False, error=Problem("session_closed", "closed")))
    del ask
    assert caplog.records == []


async def test_a_caller_that_gives_up_does_not_end_the_work(ask: Ask[str]) -> None:
    async def wait() -> str:
        return await ask.answer

    waiting = asyncio.ensure_future(wait())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait({waiting})
    assert await ask.told(work(ask)) == "done"
