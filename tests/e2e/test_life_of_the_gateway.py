"""The life of a gateway: drained, hurried, killed and started again, on data of its own, of another, or none."""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from clawdforge import Forge
from clawdforge.client.session import Session
from harness import agents, http, ledger
from harness.gateway import Gateway, until
from harness.http import Answer, ask
from harness.ledger import Ledger

PATIENT = {"drain_timeout_secs": 30}
HASTY = {"drain_timeout_secs": 0.3}


def turn(app: Forge, session: Session, prompt: str) -> Answer:
    return ask(app, "POST", f"/sessions/{session.session_id}/turn", {"prompt": prompt})


def check(gateway: Gateway, apps: Iterable[str] = ("app",)) -> None:
    for name in apps:
        ledger.check(Ledger(gateway.data_dir), name, gateway.agent_log)


def again(app: Forge, gateway: Gateway) -> Forge:
    """The same app, at the gateway's next life."""
    return Forge(base_url=gateway.url, token=app._config.token)


def test_a_stop_lets_a_running_turn_end_and_takes_nothing_new(
    new_gateway: agents.NewGateway, pool: ThreadPoolExecutor
) -> None:
    gateway = new_gateway(settings=PATIENT).start()
    with gateway.app() as app:
        busy, idle = app.create_session(agent="fake"), app.create_session(agent="fake")
        running = pool.submit(turn, app, busy, "[[SAY begun]][[SLEEP 1]][[SAY  and ended]]")
        gateway.until_heard("begun")
        gateway.signal(signal.SIGTERM)
        until(lambda: "stopping" in gateway.log(), "the gateway to begin its end")
        for method, path, body in (
            ("POST", "/sessions", {"agent": "fake"}),
            ("POST", "/run", {"prompt": "hi", "agent": "fake"}),
            ("POST", f"/sessions/{idle.session_id}/turn", {"prompt": "hi"}),
        ):
            assert ask(app, method, path, body).problem() == (503, "shutting_down")
        answer = running.result()
    assert (answer.status, answer.body["events"][0]["content"]) == (200, "begun and ended")
    assert gateway.wait() == 0
    assert gateway.children() == []
    check(gateway)


def test_a_turn_that_outlasts_the_drain_is_interrupted_and_its_caller_hears_of_it(
    new_gateway: agents.NewGateway, pool: ThreadPoolExecutor
) -> None:
    gateway = new_gateway(settings=HASTY).start()
    with gateway.app() as app:
        session = app.create_session(agent="fake")
        running = pool.submit(turn, app, session, "[[SAY begun]][[HANG]]")
        gateway.until_heard("begun")
        assert gateway.stop() == 0
        found = running.result()
    assert found.problem() == (502, "interrupted")
    assert (found.body["stop_reason"], found.body["turn_index"]) == ("interrupted", 1)
    assert found.body["session_id"] == session.session_id
    assert gateway.children() == []
    check(gateway)


def test_a_session_goes_on_in_the_gateway_s_next_life(new_gateway: agents.NewGateway) -> None:
    gateway = new_gateway(settings=HASTY).start()
    with gateway.app() as app:
        session = app.create_session(agent="fake", meta={"kept": True})
        session.turn("one")
    gateway.stop()
    gateway.start()
    with again(app, gateway) as app:
        assert app.healthz()["open_sessions"] == 1
        taken_up = app.attach_session(session.session_id)
        assert (taken_up.state()["meta"], taken_up.state()["live"]) == ({"kept": True}, True)
        answer = taken_up.turn("two")
        assert (answer.text(), answer.turn_index) == ("turn 1: two", 2)
        taken_up.close()
    gateway.stop()
    check(gateway)


STUBBORN = "[[IGNORE_CANCEL]][[IGNORE_SIGTERM]][[IGNORE_EOF]]"


@pytest.mark.parametrize(
    "prompt", ["[[SAY begun]][[HANG]]", f"{STUBBORN}[[SAY begun]][[HANG]]"], ids=["polite", "not"]
)
def test_a_second_signal_ends_at_once(
    new_gateway: agents.NewGateway, pool: ThreadPoolExecutor, prompt: str
) -> None:
    """Far sooner than the drain and the agent's own time to cancel, which are both too long for this test."""
    gateway = new_gateway(settings={"drain_timeout_secs": 600, "cancel_timeout_secs": 600}).start()
    with gateway.app() as app:
        session = app.create_session(agent="fake")
        running = pool.submit(turn, app, session, prompt)
        gateway.until_heard("begun")
        gateway.signal(signal.SIGTERM)
        until(lambda: "stopping" in gateway.log(), "the gateway to begin its end")
        gateway.signal(signal.SIGTERM)
        assert running.result().problem() == (502, "interrupted")
    assert gateway.wait() == 0
    assert gateway.children() == []
    check(gateway)


def test_a_second_signal_does_not_wait_for_a_close_either(
    new_gateway: agents.NewGateway, pool: ThreadPoolExecutor
) -> None:
    gateway = new_gateway(settings={"drain_timeout_secs": 600, "cancel_timeout_secs": 600}).start()
    with gateway.app() as app:
        session = app.create_session(agent="fake")
        running = pool.submit(turn, app, session, f"{STUBBORN}[[SAY begun]][[HANG]]")
        gateway.until_heard("begun")
        closing = pool.submit(ask, app, "DELETE", f"/sessions/{session.session_id}")
        until(lambda: turn(app, session, "more").problem() == (410, "session_closed"), "the close to begin")
        gateway.signal(signal.SIGTERM)
        until(lambda: "stopping" in gateway.log(), "the gateway to begin its end")
        gateway.signal(signal.SIGTERM)
        assert running.result().body["stop_reason"] == "cancelled"
        assert closing.result().status == 200
    assert gateway.wait() == 0
    assert gateway.children() == []
    check(gateway)


@pytest.mark.parametrize("agent", ["fake-hang-initialize", "fake-hang-new"])
@pytest.mark.parametrize("path", ["/sessions", "/run"])
def test_a_stop_does_not_wait_for_an_agent_that_does_not_start(
    new_gateway: agents.NewGateway, pool: ThreadPoolExecutor, agent: str, path: str
) -> None:
    gateway = new_gateway(settings={**HASTY, "startup_timeout_secs": 600}).start()
    with gateway.app() as app:
        body = {"agent": agent, **({"prompt": "hi"} if path == "/run" else {})}
        starting = pool.submit(ask, app, "POST", path, body)
        until(lambda: len(gateway.children()) > 0, "the agent to start")
        assert gateway.stop() == 0
        assert starting.result().problem() in ((503, "shutting_down"), (502, "interrupted"))
    assert gateway.children() == []
    assert [row["kind"] for row in Ledger(gateway.data_dir).sessions("app")] == (["run"] if path == "/run" else [])
    check(gateway)


@pytest.mark.guarantee
def test_a_killed_gateway_s_turn_is_interrupted_once_and_its_session_goes_on(
    new_gateway: agents.NewGateway, pool: ThreadPoolExecutor
) -> None:
    gateway = new_gateway(settings=HASTY).start()
    app = gateway.app()
    session = app.create_session(agent="fake")
    session.turn("before")
    prompt = f"{STUBBORN}[[FORKS 3]][[DAEMON]][[SAY begun]][[HANG]]"
    running = pool.submit(turn_that_breaks_off, app, session, prompt)
    gateway.until_heard("begun")
    gateway.kill()
    running.result()
    app.close()
    for life in (1, 2):
        gateway.start()
        assert gateway.children() == []
        assert list((gateway.data_dir / "tmp").glob("*")) == []
        with again(app, gateway) as taken_up:
            state = taken_up.get_session(session.session_id)
            assert (state["live"], state["turn_count"]) == (True, 1 + life)
            answer = taken_up.attach_session(session.session_id).turn(f"life {life}")
            assert (answer.turn_index, answer.text()) == (2 + life, f"turn 1: life {life}")
        assert gateway.stop() == 0
    turns = Ledger(gateway.data_dir).turns(session.session_id)
    assert [each["stop_reason"] for each in turns] == ["end_turn", "interrupted", "end_turn", "end_turn"]
    assert gateway.heard("begun") == 1
    check(gateway)


def test_a_killed_gateway_s_run_is_interrupted_and_closed(
    new_gateway: agents.NewGateway, pool: ThreadPoolExecutor
) -> None:
    gateway = new_gateway(settings=HASTY).start()
    app = gateway.app()
    body = {"prompt": "[[SAY begun]][[HANG]]", "agent": "fake"}
    running = pool.submit(call_that_breaks_off, app, "/run", body)
    gateway.until_heard("begun")
    gateway.kill()
    running.result()
    app.close()
    gateway.start().stop()
    [row] = Ledger(gateway.data_dir).sessions("app")
    assert row["closed_at"] is not None
    [ended] = Ledger(gateway.data_dir).turns(row["session_id"])
    assert (ended["stop_reason"], ended["error"]) == ("interrupted", "interrupted")
    check(gateway)


def test_a_gateway_killed_while_many_work_loses_nothing_that_was_answered(
    new_gateway: agents.NewGateway, pool: ThreadPoolExecutor
) -> None:
    gateway = new_gateway(settings=HASTY).start()
    app = gateway.app()
    sessions = [app.create_session(agent="fake") for _ in range(5)]
    answered: list[tuple[str, int, str]] = []

    def work(session: Session) -> None:
        for number in range(1000):
            try:
                found = turn(app, session, f"{session.session_id} {number}")
            except (OSError, http.HTTPException):
                return
            answered.append((session.session_id, found.body["turn_index"], found.body["events"][0]["content"]))

    workers = [pool.submit(work, each) for each in sessions]
    until(lambda: len(answered) > 50, "some turns to be answered")
    gateway.kill()
    for each in workers:
        each.result()
    app.close()
    gateway.start().stop()
    stored = Ledger(gateway.data_dir)
    texts = {each.session_id: stored_texts(stored, each.session_id) for each in sessions}
    assert all(texts[session_id][index] == text for session_id, index, text in answered)
    check(gateway)


def stored_texts(stored: Ledger, session_id: str) -> dict[int, str]:
    texts: dict[int, str] = {}
    for event in stored.events(session_id):
        if event["type"] == "text":
            texts[event["turn_index"]] = texts.get(event["turn_index"], "") + event["data"]["content"]
    return texts


def turn_that_breaks_off(app: Forge, session: Session, prompt: str) -> None:
    call_that_breaks_off(app, f"/sessions/{session.session_id}/turn", {"prompt": prompt})


def call_that_breaks_off(app: Forge, path: str, body: Any) -> None:
    with pytest.raises((OSError, http.HTTPException)):
        ask(app, "POST", path, body)


def test_a_data_directory_has_one_owner(new_gateway: agents.NewGateway) -> None:
    owner = new_gateway().start()
    second = new_gateway("second")
    second.data_dir = owner.data_dir
    said = second.fails_to_start()
    assert f"another gateway (process {owner.pid}) owns the data directory" in said
    assert "--data-dir" in said
    assert "Traceback" not in said
    with owner.app() as app:
        assert app.run("hi", agent="fake").ok


def test_a_directory_whose_owner_was_killed_is_free(new_gateway: agents.NewGateway) -> None:
    gateway = new_gateway().start()
    gateway.kill()
    gateway.start()
    assert gateway.stop() == 0


def test_a_corrupt_database_is_refused_with_a_sentence(new_gateway: agents.NewGateway) -> None:
    gateway = new_gateway()
    gateway.data_dir.mkdir()
    (gateway.data_dir / "clawdforge.db").write_bytes(b"this is no database\n" * 1000)
    said = gateway.fails_to_start()
    assert "database" in said
    assert "Traceback" not in said


def test_a_database_of_a_newer_version_is_refused_with_a_sentence(new_gateway: agents.NewGateway) -> None:
    gateway = new_gateway().start()
    gateway.stop()
    with closing(sqlite3.connect(gateway.data_dir / "clawdforge.db")) as connection:
        connection.execute("PRAGMA user_version = 1000")
    said = gateway.fails_to_start()
    assert "newer" in said
    assert "Traceback" not in said


def test_settings_that_are_wrong_are_refused_with_a_sentence(new_gateway: agents.NewGateway) -> None:
    gateway = new_gateway()
    gateway.agents = {"mine": {"title": "without a command"}}
    said = gateway.fails_to_start()
    assert "[agents.mine] is new and needs an argv" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("name", "is_directory"),
    [
        ("blobs", False),
        ("gateway-id", True),
        ("gateway.lock", True),
        ("admin-token", True),
        ("clawdforge.db", True),
    ],
)
def test_a_data_directory_with_something_in_the_way_is_refused_with_a_sentence(
    new_gateway: agents.NewGateway, name: str, is_directory: bool
) -> None:
    gateway = new_gateway()
    in_the_way = gateway.data_dir / name
    gateway.data_dir.mkdir()
    in_the_way.mkdir() if is_directory else in_the_way.touch()
    said = gateway.fails_to_start()
    assert str(gateway.data_dir) in said
    assert "Traceback" not in said
    assert len([line for line in said.splitlines() if line.startswith("clawdforge: ")]) == 1
    in_the_way.rmdir() if is_directory else in_the_way.unlink()
    assert gateway.start().stop() == 0
