"""Deadlines: each has a turn's own value, before its session's, before the gateway's; what is none is refused."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from clawdforge import Forge
from harness import agents, prompts
from harness.gateway import Gateway
from harness.http import Answer, ask
from harness.prompts import accepted, ended, run_streamed, statuses, turn_later, turn_streamed
from harness.tenants import tenant

NAMES = ("timeout_secs", "startup_timeout_secs", "idle_timeout_secs", "permission_timeout_secs")
NO_TIMES = (0, -1, 1.5, 86_401, "12", True, [1], {})


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway whose own deadlines are shorter than any that a call can name."""
    settings = {
        **{"startup_timeout_secs": 0.9, "idle_timeout_secs": 0.5, "turn_timeout_secs": 1},
        **{"cancel_timeout_secs": 0.5},
    }
    started = Gateway(tmp_path_factory.mktemp("hasty"), agents=agents.faulty(), settings=settings)
    started.start()
    yield started
    assert started.stop() == 0, started.log()
    started.close()


@pytest.fixture
def hurried(hasty: Gateway) -> Iterator[Forge]:
    """An app of that gateway."""
    with tenant(hasty) as forge:
        yield forge


def told(answer: Answer) -> tuple[str, str]:
    """Whose time was over, and what is said of it."""
    assert answer.problem() == (504, "timeout")
    return answer.body["phase"], answer.body["detail"]


def opened(app: Forge, agent: str = "fake", **body: Any) -> dict[str, Any]:
    """A session, whose agents have time to start unless it is said."""
    found = ask(app, "POST", "/sessions", {"agent": agent, "startup_timeout_secs": 30, **body})
    assert found.status == 200, found.raw
    told: dict[str, Any] = found.body
    return told


Case = tuple[dict[str, Any], dict[str, Any], str]


def all_at_once(pool: ThreadPoolExecutor, outcome: Callable[[Case], None], cases: list[Case]) -> None:
    """Deadlines are waited for together."""
    for done in [pool.submit(outcome, case) for case in cases]:
        done.result()


def test_the_idle_time_is_the_turn_s_before_the_session_s_before_the_gateway_s(
    hurried: Forge, pool: ThreadPoolExecutor
) -> None:
    def outcome(case: Case) -> None:
        session, turn, seconds = case
        session_id = opened(hurried, timeout_secs=60, **session)["session_id"]
        found = prompts.turn(hurried, session_id, "[[SAY a]] [[HANG]]", **turn)
        assert told(found) == ("idle", f"the agent gave no sign of life for {seconds} seconds")

    cases: list[Case] = [
        ({}, {}, "0.5"),
        ({"idle_timeout_secs": 1}, {}, "1"),
        ({"idle_timeout_secs": 1}, {"idle_timeout_secs": 2}, "2"),
        ({}, {"idle_timeout_secs": 2}, "2"),
    ]
    all_at_once(pool, outcome, cases)


def test_the_total_time_is_the_turn_s_before_the_session_s_before_the_gateway_s(
    hurried: Forge, pool: ThreadPoolExecutor
) -> None:
    def outcome(case: Case) -> None:
        session, turn, seconds = case
        session_id = opened(hurried, idle_timeout_secs=60, **session)["session_id"]
        found = prompts.turn(hurried, session_id, "[[RATE 10000 50]]", **turn)
        assert told(found) == ("total", f"the turn took longer than {seconds} seconds")

    cases: list[Case] = [
        ({}, {}, "1"),
        ({"timeout_secs": 2}, {}, "2"),
        ({"timeout_secs": 1}, {"timeout_secs": 3}, "3"),
        ({}, {"timeout_secs": 2}, "2"),
    ]
    all_at_once(pool, outcome, cases)


def test_the_time_to_start_is_the_turn_s_before_the_session_s_before_the_gateway_s(
    hurried: Forge, pool: ThreadPoolExecutor
) -> None:
    def outcome(case: Case) -> None:
        session, turn, seconds = case
        made = opened(hurried, "moody", timeout_secs=60, **session)
        assert prompts.turn(hurried, made["session_id"], "[[EXIT 1]]").status == 502
        Path(made["cwd"], "fault").write_text("hang-initialize")
        found = prompts.turn(hurried, made["session_id"], "hi", **turn)
        assert told(found)[0] == "startup"
        assert f"{seconds} seconds" in told(found)[1]

    cases: list[Case] = [
        ({"startup_timeout_secs": 3}, {}, "3"),
        ({}, {"startup_timeout_secs": 1}, "1"),
    ]
    all_at_once(pool, outcome, cases)
    found = prompts.run(hurried, "hi", agent="fake-hang-new", timeout_secs=60)
    assert (told(found)[0], "0.9 seconds" in told(found)[1]) == ("startup", True)


@pytest.mark.parametrize("seconds", [1, 2])
def test_a_session_may_name_the_time_of_its_first_start(hurried: Forge, seconds: int) -> None:
    body = {"agent": "fake-hang-initialize", "startup_timeout_secs": seconds}
    found = ask(hurried, "POST", "/sessions", body)
    assert (told(found)[0], f"{seconds} seconds" in told(found)[1]) == ("startup", True)
    assert hurried.list_sessions()["count"] == 0


def test_a_run_s_deadlines_are_its_own(hurried: Forge, pool: ThreadPoolExecutor) -> None:
    idle = pool.submit(
        prompts.run, hurried, "[[HANG]]", idle_timeout_secs=1, startup_timeout_secs=30, timeout_secs=60
    )
    total = prompts.run(
        hurried, "[[RATE 10000 50]]", timeout_secs=1, startup_timeout_secs=30, idle_timeout_secs=60
    )
    assert told(idle.result()) == ("idle", "the agent gave no sign of life for 1 seconds")
    assert told(total) == ("total", "the turn took longer than 1 seconds")


def test_what_nobody_waits_for_keeps_the_time_to_be_idle(hurried: Forge) -> None:
    first, second = (opened(hurried)["session_id"] for _ in range(2))
    later = accepted(turn_later(hurried, first, "[[SAY a]] [[HANG]]"))
    with turn_streamed(hurried, second, "[[SAY a]] [[HANG]]") as stream:
        *_, error, end = stream.events()
    assert (error["code"], end["stop_reason"]) == ("timeout", "timeout")
    assert ended(hurried, first, later)["extra"] == {"phase": "idle"}
    with run_streamed(hurried, "[[HANG]]", startup_timeout_secs=30) as stream:
        assert [*stream.events()][-1]["stop_reason"] == "timeout"


def test_any_update_is_a_sign_of_life_and_the_session_goes_on_after_a_timeout(hurried: Forge) -> None:
    session_id = opened(hurried, idle_timeout_secs=1)["session_id"]
    busy = prompts.turn(hurried, session_id, "[[RATE 16 10]]", timeout_secs=60)
    assert busy.status == 200
    assert told(prompts.turn(hurried, session_id, "[[HANG]]", timeout_secs=60))[0] == "idle"
    assert prompts.text(prompts.turn(hurried, session_id, "hi", timeout_secs=60).body["events"]) == "turn 1: hi"


def test_what_is_no_time_is_refused_and_nothing_begins(app: Forge) -> None:
    session_id = app.create_session(agent="fake").session_id
    for name in NAMES:
        for value in NO_TIMES:
            for path, body in (
                (f"/sessions/{session_id}/turn", {"prompt": "hi"}),
                ("/run", {"prompt": "hi", "agent": "fake"}),
                ("/sessions", {"agent": "fake"}),
            ):
                found = ask(app, "POST", path, {**body, name: value})
                assert found.problem() == (422, "invalid"), (path, name, value)
                assert found.body["errors"][0]["loc"][0] == name
    assert statuses(app, session_id) == []
    assert ask(app, "GET", "/runs").body["count"] == 0
    assert app.list_sessions()["count"] == 1


@pytest.mark.parametrize("seconds", [1, 86_400])
def test_the_shortest_and_the_longest_are_times(app: Forge, seconds: int) -> None:
    session_id = app.create_session(agent="fake").session_id
    body = dict.fromkeys(NAMES, seconds)
    assert prompts.turn(app, session_id, f"hi {uuid.uuid4()}", **body).status == 200
