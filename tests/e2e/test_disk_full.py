"""No room for the database: told as 507, nothing lost that was answered, and the gateway lives on.

The kernel refuses what the gateway writes beyond a limit on the size of its files (RLIMIT_FSIZE), set from outside
while it runs, and taken away again.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from clawdforge import Forge
from clawdforge.client.session import Session
from harness import ledger
from harness.agents import NewGateway
from harness.gateway import Gateway, until
from harness.http import Answer, ask
from harness.ledger import Ledger
from harness.prompts import accepted, ended, running, turn_later, turn_streamed
from harness.prompts import turn as keyed_turn


@pytest.fixture
def full_gateway(new_gateway: NewGateway) -> Iterator[Gateway]:
    """A gateway whose disk a test can fill; what its log tells must hold in the end."""
    gateway = new_gateway(settings={"reap_interval_secs": 0.2}).start()
    yield gateway
    unfinished = "SELECT * FROM turns WHERE status IN ('queued', 'running')"
    until(lambda: Ledger(gateway.data_dir).rows(unfinished) == [], "lost turns to be ended")
    gateway.stop()
    assert "a task of the sessions failed" not in gateway.log(), "no fault of the gateway's own"
    ledger.check(Ledger(gateway.data_dir), "app", gateway.agent_log)


def fill(gateway: Gateway, room_bytes: int) -> None:
    """Leaves so much room behind the end of the database's log."""
    log = gateway.data_dir / "clawdforge.db-wal"
    limit_bytes = log.stat().st_size + room_bytes
    psutil.Process(gateway.pid).rlimit(resource.RLIMIT_FSIZE, (limit_bytes, resource.RLIM_INFINITY))


def make_room(gateway: Gateway) -> None:
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    psutil.Process(gateway.pid).rlimit(resource.RLIMIT_FSIZE, unlimited)


def turn(app: Forge, session: Session, prompt: str) -> Answer:
    return ask(app, "POST", f"/sessions/{session.session_id}/turn", {"prompt": prompt})


def test_a_turn_that_cannot_begin_is_told_so_and_never_reaches_the_agent(full_gateway: Gateway) -> None:
    with full_gateway.app() as app:
        session = app.create_session(agent="fake")
        session.turn("before")
        fill(full_gateway, 0)
        assert turn(app, session, "no room for this").problem() == (507, "storage_full")
        assert app.healthz()["ok"] is True
        make_room(full_gateway)
        assert full_gateway.heard("no room for this") == 0
        assert session.state()["turn_count"] == 1
        assert session.turn("after").turn_index == 2


def test_a_turn_that_runs_out_of_room_is_told_so_and_its_session_goes_on(full_gateway: Gateway) -> None:
    with full_gateway.app() as app:
        session = app.create_session(agent="fake")
        session.turn("before")
        fill(full_gateway, 200_000)
        assert turn(app, session, "[[SAY much]][[BIGTEXT 3000000]]").problem() == (507, "storage_full")
        make_room(full_gateway)
        assert session.state()["live"] is True
        assert session.turn("after").text() == "turn 1: after"
        stored = Ledger(full_gateway.data_dir).turns(session.session_id)
        assert [each["stop_reason"] for each in stored] == ["end_turn", "interrupted", "end_turn"]
        session.close()


def test_a_run_that_runs_out_of_room_is_told_so_and_leaves_no_agent(full_gateway: Gateway) -> None:
    with full_gateway.app() as app:
        app.run("before", agent="fake")
        fill(full_gateway, 200_000)
        answer = ask(app, "POST", "/run", {"prompt": "[[SAY much]][[BIGTEXT 3000000]]", "agent": "fake"})
        assert answer.problem() == (507, "storage_full")
        full_gateway.settle()
        make_room(full_gateway)
        assert app.run("after", agent="fake").ok


def test_a_session_that_cannot_be_stored_is_not_made(full_gateway: Gateway) -> None:
    with full_gateway.app() as app:
        before = app.create_session(agent="fake")
        fill(full_gateway, 0)
        assert ask(app, "POST", "/sessions", {"agent": "fake"}).problem() == (507, "storage_full")
        make_room(full_gateway)
        assert app.list_sessions()["count"] == 1
        assert len(list((full_gateway.data_dir / "workspaces").iterdir())) == 1
        assert before.turn("hi").ok


@pytest.mark.parametrize("prompt", [None, "[[SAY so far]][[HANG]]"], ids=["idle", "in mid turn"])
def test_a_close_that_cannot_be_stored_ends_the_agent_and_can_be_tried_again(
    full_gateway: Gateway, pool: ThreadPoolExecutor, prompt: str | None
) -> None:
    with full_gateway.app() as app:
        session = app.create_session(agent="fake")
        session.turn("hi")
        if prompt is not None:
            running = pool.submit(turn, app, session, prompt)
            full_gateway.until_heard(prompt)
        fill(full_gateway, 0)
        assert ask(app, "DELETE", f"/sessions/{session.session_id}").problem() == (507, "storage_full")
        full_gateway.settle()
        assert session.state()["live"] is True
        if prompt is not None:
            assert running.result().problem() == (507, "storage_full")
        make_room(full_gateway)
        assert ask(app, "DELETE", f"/sessions/{session.session_id}").status == 200
        assert session.state()["close_reason"] == "client"
        full_gateway.settle()


def test_turns_in_other_sessions_that_were_answered_are_kept(
    full_gateway: Gateway, pool: ThreadPoolExecutor
) -> None:
    with full_gateway.app() as app:
        sessions = [app.create_session(agent="fake") for _ in range(4)]
        fill(full_gateway, 400_000)

        def work(session: Session) -> list[tuple[str, int, str]]:
            kept = []
            for number in range(2000):
                answer = turn(app, session, f"{session.session_id} {number} {'x' * 2000}")
                if answer.status != 200:
                    assert answer.problem() == (507, "storage_full")
                    break
                kept.append((session.session_id, answer.body["turn_index"], answer.body["events"][0]["content"]))
            return kept

        answered = [each for kept in pool.map(work, sessions) for each in kept]
        make_room(full_gateway)
        assert [each.turn("after").ok for each in sessions] == [True] * 4
    stored = Ledger(full_gateway.data_dir)
    for session_id, index, text in answered:
        events = [event for event in stored.events(session_id) if event["turn_index"] == index]
        assert "".join(event["data"]["content"] for event in events if event["type"] == "text") == text


def test_a_key_whose_turn_could_not_begin_is_good_for_another_try(full_gateway: Gateway) -> None:
    with full_gateway.app() as app:
        session = app.create_session(agent="fake")
        fill(full_gateway, 0)
        for _ in range(2):
            found = keyed_turn(app, session.session_id, "now or later", key="one")
            assert found.problem() == (507, "storage_full")
            assert "idempotent-replayed" not in found.headers
        make_room(full_gateway)
        assert keyed_turn(app, session.session_id, "now or later", key="one").body["turn_index"] == 1
        assert full_gateway.heard("now or later") == 1


def test_who_asks_again_for_a_turn_whose_end_was_lost_hears_of_it_and_no_agent_does(
    full_gateway: Gateway, pool: ThreadPoolExecutor
) -> None:
    with full_gateway.app() as app:
        session_id = app.create_session(agent="fake").session_id
        prompt = "[[SAY much]][[SLEEP 0.5]][[BIGTEXT 3000000]]"
        first = running(pool, app, session_id, prompt, key="one")
        joined = pool.submit(keyed_turn, app, session_id, prompt, key="one")
        with turn_streamed(app, session_id, prompt, key="one") as stream:
            stream.until("text")
            fill(full_gateway, 200_000)
            assert first.result().problem() == (507, "storage_full")
            assert joined.result().problem() == (507, "storage_full")
            make_room(full_gateway)
            assert ended(app, session_id, 1)["stop_reason"] == "interrupted"
            *_, error, end = stream.events()
        assert (error["code"], end["type"], end["stop_reason"]) == ("interrupted", "turn_end", "interrupted")
        again = keyed_turn(app, session_id, prompt, key="one")
        assert (again.problem(), again.headers["idempotent-replayed"]) == ((502, "interrupted"), "true")
        assert full_gateway.heard("much") == 1


def test_prompts_that_wait_behind_a_turn_whose_end_is_lost_end_too(
    full_gateway: Gateway, pool: ThreadPoolExecutor
) -> None:
    with full_gateway.app() as app:
        session_id = app.create_session(agent="fake").session_id
        first = running(pool, app, session_id, "[[SLEEP 0.5]][[BIGTEXT 3000000]]")
        waiting = [accepted(turn_later(app, session_id, "not heard", delivery="queue")) for _ in range(2)]
        fill(full_gateway, 200_000)
        assert first.result().problem() == (507, "storage_full")
        make_room(full_gateway)
        assert [ended(app, session_id, each)["stop_reason"] for each in waiting] == ["interrupted"] * 2
        assert keyed_turn(app, session_id, "after").body["turn_index"] == 4
        assert full_gateway.heard("not heard") == 0
