"""What was promised holds through a storm: twenty sessions, and a nemesis that strikes everything about them.

`make chaos` lets it rage for ten minutes. CHAOS_SECS says for how long, CHAOS_SEED replays one.
"""

from __future__ import annotations

import itertools
import os
import secrets
from dataclasses import replace
from pathlib import Path

import pytest

from chaos import nemesis, report
from chaos.history import History
from chaos.judge import judge
from chaos.storm import AGENTS, SETTINGS, SLOTS, rage
from chaos.truth import Truth
from harness.gateway import Gateway

SECS = float(os.environ.get("CHAOS_SECS") or 30)
SEED = int(os.environ.get("CHAOS_SEED") or secrets.randbelow(1_000_000))
AROUND_S = 300


@pytest.mark.guarantee
@pytest.mark.timeout(2 * SECS + AROUND_S)
def test_every_promise_holds_through_a_storm(tmp_path: Path) -> None:
    replay = f"CHAOS_SEED={SEED} CHAOS_SECS={SECS:g}"
    print(f"\n{replay}", flush=True)
    gateway = Gateway(tmp_path, agents=AGENTS, settings=SETTINGS)
    try:
        outcome = rage(gateway, SEED, SECS)
    finally:
        gateway.close()
        print(gateway.log()[-report.LOG_TAIL_CHARS :])
    history, truth = outcome.history, outcome.truth
    print(report.counted(history, truth))
    if violations := [*outcome.faults, *judge(history, truth)]:
        pytest.fail(f"{replay}\n{report.told(violations, history, truth, gateway.log())}", pytrace=False)
    check_that_it_can_fail(history, truth)


def check_that_it_can_fail(history: History, truth: Truth) -> None:
    """The same recording, a little worse, is not let through."""
    assert judge(_without_an_event(history), truth)
    assert judge(_with_another_answer(history), truth)
    assert judge(history, Truth(truth.sessions, [*truth.heard, truth.heard[0]]))


def _without_an_event(history: History) -> History:
    at, reading = next((at, each) for at, each in enumerate(history.readings) if len(each.texts) > 2)
    worse = replace(reading, texts=[reading.texts[0], *reading.texts[2:]])
    return replace(history, readings=[*history.readings[:at], worse, *history.readings[at + 1 :]])


def _with_another_answer(history: History) -> History:
    told = next(each for each in history.attempts if each.ask.what == "turn" and each.status == 200)
    worse = replace(told, body={**told.body, "turn_index": told.body["turn_index"] + 1})
    return replace(history, attempts=[worse if each is told else each for each in history.attempts])


def test_a_seed_says_what_the_nemesis_does() -> None:
    plans = _plans(7)
    assert plans == _plans(7)
    assert plans != _plans(8)
    assert {plan.blow for plan in plans} == {*nemesis.AGENTS, *nemesis.GATEWAYS}


def _plans(seed: int) -> list[nemesis.Plan]:
    return list(itertools.islice(nemesis.plans(seed, SLOTS), 200))
