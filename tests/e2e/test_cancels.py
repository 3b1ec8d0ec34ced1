"""A cancel at every moment of a turn: before, while it waits, during, twice, at its very end, after it."""

from __future__ import annotations

import os
import signal
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from clawdforge import Forge
from clawdforge.client.session import Session
from harness import http
from harness.gateway import Gateway, until
from harness.http import Answer, ask
from harness.ledger import Ledger
from harness.levels import gateway_at
from harness.prompts import DETACHED, STREAMED, ended, events_of, post, record

UNENDING = "[[SAY {}]][[HANG]]"
WAYS = pytest.mark.parametrize("way", [{}, STREAMED, DETACHED], ids=["blocking", "streamed", "detached"])


def turn_path(session: Session) -> str:
    return f"/sessions/{session.session_id}/turn"


def cancel(app: Forge, session: Session, body: Any = None) -> Answer:
    return ask(app, "POST", f"/sessions/{session.session_id}/cancel", body)


def cancelled(found: Answer) -> bool:
    assert found.status == 200, found.raw
    assert found.body["ok"] is True
    told = found.body["cancelled"]
    assert isinstance(told, bool)
    return told


def running(app: Forge, gateway: Gateway, pool: ThreadPoolExecutor, session: Session) -> Future[Answer]:
    """A turn that ends by a cancel only; its agent has it."""
    asked = pool.submit(post, app, turn_path(session), {"prompt": UNENDING.format(session.session_id)})
    gateway.until_heard(session.session_id)
    return asked


def test_a_cancel_before_any_turn_does_nothing(app: Forge, db: Ledger) -> None:
    session = app.create_session(agent="fake")
    before = db.events(session.session_id)
    assert cancelled(cancel(app, session)) is False
    assert db.events(session.session_id) == before
    assert session.turn("hi").text() == "turn 1: hi"


@pytest.mark.guarantee
@WAYS
def test_a_cancel_ends_the_turn_and_its_agent_goes_on(
    app: Forge, gateway: Gateway, pool: ThreadPoolExecutor, way: dict[str, str]
) -> None:
    session = app.create_session(agent="fake")
    prompt = {"prompt": UNENDING.format(session.session_id)}
    asked = pool.submit(post, app, turn_path(session), prompt, way)
    gateway.until_heard(session.session_id)
    found = cancel(app, session)
    assert (cancelled(found), found.body["turn_index"]) == (True, 1)
    told = record(app, session.session_id, 1)
    assert (told["status"], told["stop_reason"], told["ok"]) == ("done", "cancelled", False)
    if way == STREAMED:
        last = events_of(asked.result())[-1]
        assert (last["type"], last["stop_reason"], last["ok"]) == ("turn_end", "cancelled", False)
    elif not way:
        assert (asked.result().status, asked.result().body["ok"]) == (200, False)
        assert asked.result().body["stop_reason"] == "cancelled"
    assert session.turn("now").text() == "turn 2: now"


def test_a_cancel_while_the_agent_starts_ends_the_turn_and_it_is_never_told(
    app: Forge, gateway: Gateway, pool: ThreadPoolExecutor
) -> None:
    session = app.create_session(agent="moody")
    post(app, turn_path(session), {"prompt": "[[EXIT 1]]"})
    fault = Path(session.cwd, "fault")
    fault.write_text("hang-initialize")
    asked = pool.submit(post, app, turn_path(session), {"prompt": f"never told {session.session_id}"})
    until(lambda: session.state()["turn_count"] == 2, "the turn to be accepted")
    assert cancelled(cancel(app, session)) is True
    assert asked.result().body["stop_reason"] == "cancelled"
    assert gateway.heard(f"never told {session.session_id}") == 0
    fault.unlink()
    assert session.turn("awake").text() == "turn 1: awake"


def test_a_cancel_of_one_that_waits_leaves_the_running_one_alone(
    app: Forge, gateway: Gateway, pool: ThreadPoolExecutor
) -> None:
    session = app.create_session(agent="fake")
    first = running(app, gateway, pool, session)
    waiting = {"prompt": f"never told {session.session_id}", "delivery": "queue"}
    assert post(app, turn_path(session), waiting, DETACHED).body["status"] == "queued"
    assert cancelled(cancel(app, session, {"turn_index": 2})) is True
    told = record(app, session.session_id, 2)
    assert (told["status"], told["stop_reason"]) == ("done", "cancelled")
    assert record(app, session.session_id, 1)["status"] == "running"
    assert cancelled(cancel(app, session, {"turn_index": 1})) is True
    assert first.result().body["stop_reason"] == "cancelled"
    assert gateway.heard(f"never told {session.session_id}") == 0


@pytest.mark.guarantee
def test_of_many_cancels_at_once_exactly_one_has_done_it(
    app: Forge, gateway: Gateway, pool: ThreadPoolExecutor, db: Ledger
) -> None:
    session = app.create_session(agent="fake")
    asked = running(app, gateway, pool, session)
    told = list(pool.map(lambda _: cancelled(cancel(app, session)), range(8)))
    assert sorted(told) == [False] * 7 + [True]
    assert asked.result().body["stop_reason"] == "cancelled"
    assert [each["type"] for each in db.events(session.session_id)].count("turn_end") == 1


def test_a_cancel_after_the_end_changes_nothing(app: Forge, db: Ledger) -> None:
    session = app.create_session(agent="fake")
    session.turn("hi")
    before = (db.events(session.session_id), db.turns(session.session_id))
    for body in (None, {"turn_index": 1}):
        assert cancelled(cancel(app, session, body)) is False
    assert (db.events(session.session_id), db.turns(session.session_id)) == before
    assert session.turn("on").text() == "turn 2: on"


@pytest.mark.guarantee
def test_a_cancel_at_the_very_end_leaves_one_truth(app: Forge, pool: ThreadPoolExecutor) -> None:
    """Who is told that it cancelled finds the turn cancelled; who is not finds its answer."""
    session = app.create_session(agent="fake")
    for number in range(1, 31):
        asked = pool.submit(post, app, turn_path(session), {"prompt": "[[SAY done]]"})
        did = cancelled(cancel(app, session))
        assert asked.result().status == 200
        told = ended(app, session.session_id, number)
        assert told["stop_reason"] == asked.result().body["stop_reason"]
        assert (told["stop_reason"], told["ok"]) == (("cancelled", False) if did else ("end_turn", True))


@pytest.mark.parametrize("body", [{"turn_index": 2}, {"turn_index": 10**9}])
def test_a_turn_that_never_was_cannot_be_cancelled(app: Forge, body: Any) -> None:
    session = app.create_session(agent="fake")
    session.turn("hi")
    assert cancel(app, session, body).problem() == (404, "not_found")


@pytest.mark.parametrize("index", [0, -1, 1.0, "1", True, 10**9 + 1])
def test_a_turn_that_is_none_is_refused(app: Forge, index: Any) -> None:
    session = app.create_session(agent="fake")
    assert cancel(app, session, {"turn_index": index}).problem() == (422, "invalid")


def test_another_app_s_turn_is_out_of_reach(app: Forge, gateway: Gateway, pool: ThreadPoolExecutor) -> None:
    session = app.create_session(agent="fake")
    asked = running(app, gateway, pool, session)
    with gateway.app(f"stranger-{session.session_id}") as stranger:
        assert cancel(stranger, session).problem() == (404, "not_found")
        assert cancel(stranger, session, {"turn_index": 1}).problem() == (404, "not_found")
    assert record(app, session.session_id, 1)["status"] == "running"
    assert cancelled(cancel(app, session)) is True
    assert asked.result().body["stop_reason"] == "cancelled"


def test_a_closed_session_has_nothing_to_be_cancelled(app: Forge) -> None:
    session = app.create_session(agent="fake")
    session.turn("hi")
    session.close()
    assert cancelled(cancel(app, session)) is False


def test_a_cancel_and_a_close_at_once_leave_one_end(
    app: Forge, gateway: Gateway, pool: ThreadPoolExecutor, db: Ledger
) -> None:
    session = app.create_session(agent="fake")
    asked = running(app, gateway, pool, session)
    closing_ = pool.submit(session.close)
    cancelled(cancel(app, session))
    closing_.result()
    assert asked.result().body["stop_reason"] == "cancelled"
    types = [each["type"] for each in db.events(session.session_id)]
    assert types.count("turn_end") == types.count("session_closed") == 1
    assert types[-1] == "session_closed"


@pytest.mark.guarantee
def test_an_agent_that_ignores_it_is_ended_in_time_and_the_session_goes_on_with_a_fresh_one(
    app: Forge, gateway: Gateway, pool: ThreadPoolExecutor
) -> None:
    session = app.create_session(agent="fake")
    prompt = f"[[IGNORE_CANCEL]][[CHILD]][[SAY {session.session_id}]][[HANG]]"
    asked = pool.submit(post, app, turn_path(session), {"prompt": prompt})
    gateway.until_heard(session.session_id)
    assert cancelled(cancel(app, session)) is True
    assert asked.result().body["stop_reason"] == "cancelled"
    assert gateway.children(session) == []
    assert session.turn("next").turn_index == 2


def test_an_agent_that_answers_it_with_an_error_has_been_cancelled(
    app: Forge, gateway: Gateway, pool: ThreadPoolExecutor
) -> None:
    session = app.create_session(agent="fake")
    prompt = f"[[CANCEL_ERROR]][[SAY {session.session_id}]][[HANG]]"
    asked = pool.submit(post, app, turn_path(session), {"prompt": prompt})
    gateway.until_heard(session.session_id)
    assert cancelled(cancel(app, session)) is True
    assert (asked.result().status, asked.result().body["stop_reason"]) == (200, "cancelled")
    assert session.turn("next").text() == "turn 2: next"


@pytest.mark.guarantee
def test_an_agent_that_dies_of_it_has_been_cancelled_and_leaves_nothing(pool: ThreadPoolExecutor) -> None:
    """Without a wall, where nothing but the gateway ends what it has started."""
    with gateway_at("none", cancel_timeout_secs=30) as gateway, gateway.start().app() as app:
        session = app.create_session(agent="fake")
        prompt = f"[[IGNORE_CANCEL]][[CHILD]][[SAY {session.session_id}]][[PID]][[HANG]]"
        asked = pool.submit(post, app, turn_path(session), {"prompt": prompt})
        gateway.until_heard(session.session_id)
        cancelling = pool.submit(cancel, app, session)
        log = gateway.agent_log
        until(lambda: [*log.of(session.session_id, "session/cancel")] != [], "the cancel to reach the agent")
        until(lambda: len(gateway.children(session)) == 2, "the agent and its child to be there")
        agent = min(gateway.children(session), key=lambda told: "fake_agent" not in told)
        os.kill(int(agent.split()[0]), signal.SIGKILL)
        assert cancelled(cancelling.result()) is True
        assert asked.result().body["stop_reason"] == "cancelled"
        assert gateway.children(session) == []
        assert session.turn("next").turn_index == 2


def test_a_caller_that_hangs_up_can_still_cancel(app: Forge, gateway: Gateway) -> None:
    session = app.create_session(agent="fake")
    with closing(http.connect(gateway.url)) as connection:
        prompt = {"prompt": UNENDING.format(session.session_id)}
        http.send(connection, "POST", turn_path(session), token=app._config.token, body=prompt)
        gateway.until_heard(session.session_id)
    assert cancelled(cancel(app, session)) is True
    assert record(app, session.session_id, 1)["stop_reason"] == "cancelled"
