"""The life of a session: two callers at once, closes at every moment, callers that hang up."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from clawdforge import Forge
from clawdforge.client.session import Session
from harness import http, prompts
from harness.gateway import Gateway, until
from harness.http import Answer, ask
from harness.ledger import Ledger
from harness.streams import Stream


def turn(app: Forge, session: Session, prompt: str, **options: Any) -> Answer:
    return ask(app, "POST", f"/sessions/{session.session_id}/turn", {"prompt": prompt, **options})


def close(app: Forge, session: Session) -> Answer:
    return ask(app, "DELETE", f"/sessions/{session.session_id}")


def test_a_second_turn_while_one_runs_is_refused_and_disturbs_nothing(
    app: Forge, gateway: Gateway, pool: ThreadPoolExecutor
) -> None:
    session = app.create_session(agent="fake")
    first = pool.submit(turn, app, session, f"[[SAY {session.session_id}]][[SLEEP 1]][[SAY  done]]")
    gateway.until_heard(session.session_id)
    second = turn(app, session, "and I?")
    assert second.problem() == (409, "turn_in_progress")
    assert gateway.heard("and I?") == 0
    assert first.result().status == 200
    assert session.state()["turn_count"] == 1
    assert session.turn("now").text() == "turn 2: now"


@pytest.mark.guarantee
def test_of_many_turns_at_once_exactly_one_is_let_through(app: Forge, pool: ThreadPoolExecutor) -> None:
    session = app.create_session(agent="fake")
    answers = list(pool.map(lambda _: turn(app, session, "[[SLEEP 0.3]][[SAY me]]"), range(10)))
    assert sorted(answer.status for answer in answers) == [200] + [409] * 9
    assert session.state()["turn_count"] == 1


def test_closing_while_a_turn_runs_ends_it_cancelled(
    app: Forge, gateway: Gateway, pool: ThreadPoolExecutor, db: Ledger
) -> None:
    session = app.create_session(agent="fake")
    running = pool.submit(turn, app, session, f"[[SAY so far {session.session_id}]][[HANG]]")
    gateway.until_heard(session.session_id)
    assert close(app, session).status == 200
    found = running.result()
    assert found.status == 200
    assert (found.body["ok"], found.body["stop_reason"]) == (False, "cancelled")
    assert "so far" in found.body["events"][0]["content"]
    assert [event["type"] for event in db.events(session.session_id)][-2:] == ["turn_end", "session_closed"]
    assert turn(app, session, "more").problem() == (410, "session_closed")
    assert gateway.children() == []


def test_closing_while_a_turn_is_streamed_ends_every_stream_with_what_became_of_it(
    app: Forge, gateway: Gateway, pool: ThreadPoolExecutor, db: Ledger
) -> None:
    session = app.create_session(agent="fake")
    body = {"prompt": f"[[SAY {session.session_id}]][[HANG]]"}
    asked = pool.submit(prompts.post, app, f"/sessions/{session.session_id}/turn", body, prompts.STREAMED)
    with Stream(app, session.session_id) as one, Stream(app, session.session_id) as two:
        for stream in (one, two):
            stream.until("text")
        assert close(app, session).status == 200
        rest = [[*stream.events()] for stream in (one, two)]
    assert rest[0] == rest[1]
    assert [event["type"] for event in rest[0]] == ["turn_end", "session_closed"]
    told = prompts.events_of(asked.result())
    assert (told[-1]["type"], told[-1]["stop_reason"]) == ("turn_end", "cancelled")
    assert rest[0][-1]["seq"] == len(db.events(session.session_id))


def test_closing_while_a_file_is_put_leaves_all_of_it_or_nothing(app: Forge, gateway: Gateway) -> None:
    session = app.create_session(agent="fake")
    with closing(http.connect(gateway.url)) as connection:
        connection.putrequest("PUT", f"/sessions/{session.session_id}/files/late.bin")
        connection.putheader("Authorization", f"Bearer {app._config.token}")
        connection.putheader("Content-Length", "2000000")
        connection.endheaders(b"x" * 1_500_000)
        assert close(app, session).status == 200
        connection.send(b"x" * 500_000)
        found = http.receive(connection)
    left = Path(session.cwd, "late.bin")
    if found.status == 200:
        assert left.stat().st_size == 2_000_000
    else:
        assert found.problem() == (410, "session_closed")
        assert not left.exists()
    assert session.state()["live"] is False


@pytest.mark.guarantee
def test_what_an_agent_says_when_it_is_ended_stands_before_the_close(app: Forge, db: Ledger) -> None:
    session = app.create_session(agent="fake")
    session.turn("[[LAST_WORDS farewell]]")
    with Stream(app, session.session_id) as stream:
        session.close()
        told = [*stream.events()]
    assert [event["type"] for event in told][-2:] == ["text", "session_closed"]
    assert told[-2]["content"] == "farewell"
    assert told[-1]["seq"] == len(db.events(session.session_id))


@pytest.mark.guarantee
def test_nothing_follows_on_the_close_of_a_run(app: Forge, gateway: Gateway, db: Ledger) -> None:
    run = app.run("[[SAY done]][[LATE more]][[LAST_WORDS farewell]]", agent="fake")
    gateway.settle()
    assert db.events(run.run_id)[-1]["type"] == "session_closed"


def test_closing_while_an_agent_that_ignores_cancel_works_ends_it_all_the_same(
    app: Forge, gateway: Gateway, pool: ThreadPoolExecutor
) -> None:
    session = app.create_session(agent="fake")
    running = pool.submit(turn, app, session, f"[[IGNORE_CANCEL]][[SAY {session.session_id}]][[HANG]]")
    gateway.until_heard(session.session_id)
    assert close(app, session).status == 200
    assert running.result().body["stop_reason"] == "cancelled"
    assert gateway.children() == []


def test_closing_while_the_turn_s_fresh_agent_starts_ends_it_cancelled(
    app: Forge, gateway: Gateway, pool: ThreadPoolExecutor
) -> None:
    session = app.create_session(agent="moody")
    turn(app, session, "[[EXIT 1]]")
    Path(session.cwd, "fault").write_text("hang-initialize")
    running = pool.submit(turn, app, session, "never told")
    until(lambda: session.state()["turn_count"] == 2, "the turn to be accepted")
    assert close(app, session).status == 200
    assert running.result().body["stop_reason"] == "cancelled"
    assert gateway.children() == []


def test_closing_from_many_clients_at_once_closes_once(
    app: Forge, pool: ThreadPoolExecutor, db: Ledger, gateway: Gateway
) -> None:
    session = app.create_session(agent="fake")
    running = pool.submit(turn, app, session, f"[[SAY {session.session_id}]][[HANG]]")
    gateway.until_heard(session.session_id)
    answers = list(pool.map(lambda _: close(app, session), range(8)))
    assert {answer.raw for answer in answers} == {answers[0].raw}
    assert {answer.status for answer in answers} == {200}
    assert running.result().body["stop_reason"] == "cancelled"
    closed = [event for event in db.events(session.session_id) if event["type"] == "session_closed"]
    assert [event["data"]["reason"] for event in closed] == ["client"]


def test_a_turn_and_a_close_at_once_leave_one_truth(
    app: Forge, pool: ThreadPoolExecutor, gateway: Gateway
) -> None:
    for _ in range(10):
        session = app.create_session(agent="fake")
        both = [pool.submit(turn, app, session, "hi"), pool.submit(close, app, session)]
        asked, closed = (each.result() for each in both)
        assert closed.status == 200
        if asked.status == 200:
            assert asked.body["stop_reason"] in ("end_turn", "cancelled")
        else:
            assert asked.problem() == (410, "session_closed")
        assert session.state()["live"] is False
    assert gateway.children() == []


@pytest.mark.guarantee
def test_a_caller_that_hangs_up_does_not_stop_its_turn(app: Forge, gateway: Gateway, db: Ledger) -> None:
    session = app.create_session(agent="fake")
    connection = http.connect(gateway.url)
    path = f"/sessions/{session.session_id}/turn"
    body = {"prompt": f"[[SAY {session.session_id}]][[SLEEP 0.5]][[SAY  done]]"}
    http.send(connection, "POST", path, token=app._config.token, body=body)
    gateway.until_heard(session.session_id)
    connection.close()
    until(lambda: db.turns(session.session_id)[0]["status"] == "done", "the turn to end")
    texts = "".join(e["data"]["content"] for e in db.events(session.session_id) if e["type"] == "text")
    assert texts == f"{session.session_id} done"
    assert session.turn("next").turn_index == 2


def test_a_caller_that_hangs_up_does_not_stop_its_run(app: Forge, gateway: Gateway, db: Ledger) -> None:
    marker = f"run-{id(app)}"
    connection = http.connect(gateway.url)
    body = {"prompt": f"[[SAY {marker}]][[SLEEP 0.5]][[SAY  done]]", "agent": "fake"}
    http.send(connection, "POST", "/run", token=app._config.token, body=body)
    gateway.until_heard(marker)
    connection.close()
    runs = "SELECT * FROM audit WHERE kind = 'run' AND answer_bytes = ?"
    until(lambda: len(db.rows(runs, len(f"{marker} done"))) == 1, "the run to end")


def test_a_session_whose_maker_hung_up_can_be_found_and_closed(app: Forge, gateway: Gateway) -> None:
    connection = http.connect(gateway.url)
    http.send(connection, "POST", "/sessions", token=app._config.token, body={"agent": "fake"})
    until(lambda: len(gateway.children()) > 0, "the agent to start")
    connection.close()
    until(lambda: app.list_sessions()["count"] == 1, "the session to be made")
    [row] = app.list_sessions()["sessions"]
    assert app.attach_session(row["session_id"]).turn("hi").text() == "turn 1: hi"


def test_a_turn_of_a_foreign_session_that_is_busy_is_still_not_found(
    app: Forge, gateway: Gateway, pool: ThreadPoolExecutor
) -> None:
    session = app.create_session(agent="fake")
    running = pool.submit(turn, app, session, f"[[SAY {session.session_id}]][[SLEEP 0.5]]")
    gateway.until_heard(session.session_id)
    with gateway.app(f"stranger-{session.session_id}") as stranger:
        assert turn(stranger, session, "hi").problem() == (404, "not_found")
        assert close(stranger, session).problem() == (404, "not_found")
    assert running.result().status == 200


@pytest.mark.parametrize("limit", [3])
def test_an_app_has_so_many_sessions_and_no_more(new_gateway: Any, limit: int) -> None:
    gateway = new_gateway(settings={"max_sessions_per_app": limit}).start()
    with gateway.app() as app:
        sessions = [app.create_session(agent="fake") for _ in range(limit)]
        refused = ask(app, "POST", "/sessions", {"agent": "fake"})
        assert refused.problem() == (429, "too_many_sessions")
        assert app.run("hi", agent="fake").ok
        sessions[0].close()
        assert app.create_session(agent="fake").turn("hi").ok
        with gateway.app("other") as other:
            assert other.create_session(agent="fake").turn("hi").ok


def test_the_gateway_runs_so_many_turns_at_once_and_no_more(new_gateway: Any, pool: ThreadPoolExecutor) -> None:
    gateway = new_gateway(settings={"max_running_turns": 2}).start()
    with gateway.app() as app:
        sessions = [app.create_session(agent="fake") for _ in range(3)]
        running = [pool.submit(turn, app, each, f"[[SAY {each.session_id}]][[SLEEP 1]]") for each in sessions[:2]]
        for each in sessions[:2]:
            gateway.until_heard(each.session_id)
        refused = turn(app, sessions[2], "hi")
        assert refused.problem() == (429, "too_many_turns")
        assert int(refused.headers["retry-after"]) > 0
        assert ask(app, "POST", "/run", {"prompt": "hi", "agent": "fake"}).problem() == (429, "too_many_turns")
        assert [each.result().status for each in running] == [200, 200]
        assert turn(app, sessions[2], "hi").body["turn_index"] == 1
