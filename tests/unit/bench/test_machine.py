"""What others had of the machine."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from bench import machine


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets the seconds that have passed, that all cores have worked, and that were our own."""

    def set_to(now_s: float, busy_s: float, own_s: float) -> None:
        monkeypatch.setattr(time, "monotonic", lambda: now_s)
        monkeypatch.setattr(machine, "_busy_s", lambda: busy_s)
        monkeypatch.setattr(machine, "_own_s", lambda: own_s)

    monkeypatch.setattr(machine, "CORES", 4)
    return set_to


def test_others_had_what_was_worked_and_not_our_own(clocks: Callable[..., None]) -> None:
    clocks(now_s=100, busy_s=5000, own_s=7)
    others = machine.Others()
    clocks(now_s=110, busy_s=5016, own_s=11)
    assert others.share() == pytest.approx(0.3)


@pytest.mark.parametrize(("busy_s", "share"), [(0.99, 0), (1000, 1)])
def test_clocks_that_tick_apart_make_a_share_all_the_same(
    clocks: Callable[..., None], busy_s: float, share: float
) -> None:
    clocks(now_s=0, busy_s=0, own_s=0)
    others = machine.Others()
    clocks(now_s=1, busy_s=busy_s, own_s=1)
    assert others.share() == share


def test_this_machine_can_be_read() -> None:
    others = machine.Others()
    sum(range(100_000))
    assert 0 <= others.share() <= 1
    assert "cores" in machine.described()
