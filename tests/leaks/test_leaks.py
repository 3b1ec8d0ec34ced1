"""What agents leave behind is gone with what it belonged to: at each level, however it ended, however it hid.

`make leaks` shows the table.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from clawdforge import Forge
from clawdforge.client.session import Session
from clawdforge.testing.fake_agent import lost
from harness.gateway import Gateway
from harness.http import ask
from leaks.conftest import AGENT, LEVELS, NewGateway
from leaks.looking import Watch, new_token
from leaks.table import Cell

KINDS = tuple(lost.WAYS)
Told = Callable[[Cell], None]


@dataclass(frozen=True)
class Grown:
    """A session for each kind of process, which its agent has left, and one that has nothing to do with these."""

    level: str
    app: Forge
    sessions: dict[str, Session]
    watch: Watch
    bystander: Session

    def turn(self, kind: str) -> tuple[Forge, str, str]:
        """How a turn of a session is asked for."""
        return self.app, "POST", f"/sessions/{self.sessions[kind].session_id}/turn"

    def check_bystander(self) -> None:
        """Its agent is still the one that it was."""
        assert self.bystander.turn("still there?").text() == "turn 2: still there?"


@contextmanager
def grown(gateway: Gateway, pool: ThreadPoolExecutor) -> Iterator[Grown]:
    """Opens the sessions, and waits until all that their agents leave is to be seen."""
    tokens = {new_token(): kind for kind in KINDS}
    watch = Watch(tokens)
    with gateway.app(new_token()) as app:
        bystander, *opened = pool.map(lambda _: app.create_session(agent=AGENT), range(1 + len(KINDS)))
        sessions = dict(zip(KINDS, opened, strict=True))
        assert bystander.turn("there?").text() == "turn 1: there?"
        try:
            for token, kind in tokens.items():
                assert sessions[kind].turn(f"[[LEAVE {kind} {token}]]").ok
            watch.until_all_are_there()
            yield Grown(gateway.settings["sandbox"], app, sessions, watch, bystander)
        finally:
            watch.end()


@pytest.mark.guarantee
def test_with_a_session_that_is_closed(lasting: Gateway, pool: ThreadPoolExecutor, told: Told) -> None:
    with grown(lasting, pool) as trees:
        for kind, session in trees.sessions.items():
            began = time.monotonic()
            session.close()
            cell(told, trees, "close", kind, began)
        trees.check_bystander()


@pytest.mark.guarantee
def test_with_a_cancel_that_had_to_kill(lasting: Gateway, pool: ThreadPoolExecutor, told: Told) -> None:
    """A turn's deadline cancels it; an agent that does not heed that is ended."""
    body = {"prompt": "[[IGNORE_CANCEL]][[HANG]]", "timeout_secs": 1}
    with grown(lasting, pool) as trees:
        began = time.monotonic()
        turns = {kind: pool.submit(ask, *trees.turn(kind), body) for kind in KINDS}
        for kind, turn in turns.items():
            assert turn.result().problem() == (504, "timeout")
            cell(told, trees, "cancel", kind, began + 1)
        trees.check_bystander()


@pytest.mark.guarantee
def test_with_an_agent_that_crashed(lasting: Gateway, pool: ThreadPoolExecutor, told: Told) -> None:
    with grown(lasting, pool) as trees:
        for kind in KINDS:
            began = time.monotonic()
            assert ask(*trees.turn(kind), {"prompt": "[[KILL9]]"}).problem() == (502, "agent_failed")
            cell(told, trees, "crash", kind, began)
        trees.check_bystander()


@pytest.mark.guarantee
@pytest.mark.parametrize("level", LEVELS)
def test_with_a_gateway_that_was_told_to_end(
    level: str, new_gateway: NewGateway, pool: ThreadPoolExecutor, told: Told
) -> None:
    gateway = new_gateway(level)
    with grown(gateway, pool) as trees:
        began = time.monotonic()
        assert gateway.stop() == 0
        cells(told, trees, "SIGTERM", began)


@pytest.mark.guarantee
@pytest.mark.parametrize("level", LEVELS)
def test_with_a_gateway_that_was_killed(
    level: str, new_gateway: NewGateway, pool: ThreadPoolExecutor, told: Told
) -> None:
    gateway = new_gateway(level)
    with grown(gateway, pool) as trees:
        began = time.monotonic()
        gateway.kill()
        contained = level == "bwrap"
        if contained:
            trees.watch.until_all_are_gone()
            cells(told, trees, "SIGKILL", began)
        else:
            assert trees.watch.left(), "all of it ended by itself: what is told of this level would be wrong"
        began = time.monotonic()
        gateway.start()
        if not contained:
            cells(told, trees, "SIGKILL, next start", began)
        assert ("that an earlier life of this gateway had left" in gateway.log()) is not contained


def cell(told: Told, trees: Grown, way: str, kind: str, began: float) -> None:
    """Something of this kind has ended, which is answered: what it had left must not be there any more."""
    left = kind in trees.watch.left()
    told(Cell(trees.level, way, kind, _ms_since(began), left))
    assert not left, f"{kind} was left"


def cells(told: Told, trees: Grown, way: str, began: float) -> None:
    """The same for all kinds at once."""
    left = trees.watch.left()
    for kind in KINDS:
        told(Cell(trees.level, way, kind, _ms_since(began), kind in left))
    assert not left


def _ms_since(began: float) -> int:
    return round((time.monotonic() - began) * 1000)
