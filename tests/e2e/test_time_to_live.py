"""What time does to sessions: idle ones are closed, closed ones are removed with all that was theirs."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from clawdforge import Forge
from harness.agents import NewGateway
from harness.gateway import Gateway, until
from harness.http import ask
from harness.ledger import Ledger
from harness.tenants import tenant

QUICK = {"session_ttl_secs": 1, "session_hard_ttl_secs": 86_400, "reap_interval_secs": 0.1}


@pytest.fixture(scope="module")
def idle_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Closes sessions after a second."""
    gateway = Gateway(tmp_path_factory.mktemp("idle"), settings={"cancel_timeout_secs": 0.5, **QUICK}).start()
    yield gateway
    assert gateway.stop() == 0, gateway.log()
    gateway.close()


def closed(app: Forge, session_id: str) -> bool:
    return app.get_session(session_id)["closed_at"] is not None


def test_a_session_that_nobody_uses_is_closed_and_its_agent_ended(idle_gateway: Gateway) -> None:
    with tenant(idle_gateway) as app:
        session = app.create_session(agent="fake")
        session.turn("hi")
        until(lambda: closed(app, session.session_id), "the idle session to be closed")
        assert session.state()["close_reason"] == "idle"
        until(lambda: idle_gateway.children() == [], "its agent to be gone")
        answer = ask(app, "POST", f"/sessions/{session.session_id}/turn", {"prompt": "late"})
        assert answer.problem() == (410, "session_closed")
        until(lambda: app.healthz()["open_sessions"] == 0, "it to be counted no more")


def test_a_session_whose_turn_runs_is_not_idle(idle_gateway: Gateway) -> None:
    with tenant(idle_gateway) as app:
        session = app.create_session(agent="fake")
        assert session.turn("[[SLEEP 2]][[SAY awake]]").text() == "awake"
        assert session.state()["live"] is True


def test_every_turn_begins_the_time_anew(idle_gateway: Gateway) -> None:
    with tenant(idle_gateway) as app:
        session = app.create_session(agent="fake")
        for number in range(1, 5):
            assert session.turn("[[SLEEP 0.4]][[SAY here]]").turn_index == number


def test_a_session_left_by_an_earlier_life_is_closed_too(new_gateway: NewGateway) -> None:
    gateway = new_gateway(settings=QUICK).start()
    app = gateway.app()
    session = app.create_session(agent="fake")
    app.close()
    gateway.kill()
    gateway.start()
    ledger = Ledger(gateway.data_dir)
    question = "SELECT close_reason FROM sessions WHERE session_id = ?"
    until(
        lambda: ledger.rows(question, session.session_id) == [{"close_reason": "idle"}], "the session to be closed"
    )


def test_what_was_closed_long_ago_is_removed_with_events_turns_and_workspace(new_gateway: NewGateway) -> None:
    gateway = new_gateway(settings={**QUICK, "session_ttl_secs": 3600, "session_hard_ttl_secs": 1}).start()
    with gateway.app() as app:
        kept, removed = app.create_session(agent="fake"), app.create_session(agent="fake", permissions="allow")
        kept.turn("hi")
        removed.turn("[[SH mkdir -p a/b; echo x > a/b/c; ln -s / root; mkdir -m 0 locked]]")
        run = app.run("hi", agent="fake")
        removed.close()
        until(lambda: app.list_sessions()["count"] == 1, "the closed session to be removed")
        assert ask(app, "GET", f"/sessions/{removed.session_id}").problem() == (404, "not_found")
        ledger = Ledger(gateway.data_dir)
        until(lambda: len(ledger.sessions("app")) == 1, "the run to be removed too")
        assert not Path(removed.cwd).exists()
        for name in (removed.session_id, str(run.session_id)):
            assert not list(gateway.data_dir.glob(f"*/{name}")), "neither workspace nor home"
        assert Path("/etc/hostname").exists()
        until(lambda: len(ledger.rows("SELECT DISTINCT session_key FROM events")) == 1, "the events to be removed")
        assert len(ledger.rows("SELECT * FROM turns")) == 1
        assert {len(ledger.audit(each)) for each in (removed.session_id, str(run.session_id))} == {1}
        assert Path(kept.cwd).is_dir()
        assert (gateway.data_dir / "homes" / kept.session_id).is_dir()
        assert kept.turn("still here").text() == "turn 2: still here"


def test_directories_of_sessions_that_never_were_are_removed(new_gateway: NewGateway) -> None:
    """A gateway that is killed while it opens a session has made directories that no session has."""
    gateway = new_gateway(settings={**QUICK, "session_ttl_secs": 3600}).start()
    with gateway.app() as app:
        kept = app.create_session(agent="fake")
    gateway.kill()
    lost = [gateway.data_dir / kind / "sess_0123456789abcdef" for kind in ("workspaces", "homes")]
    for each in lost:
        (each / "deep").mkdir(parents=True)
    gateway.start()
    until(lambda: not any(each.exists() for each in lost), "the directories of nobody to be removed")
    assert Path(kept.cwd).is_dir()
    assert (gateway.data_dir / "homes" / kept.session_id).is_dir()


def test_turns_and_the_reaper_do_not_get_into_each_other_s_way(
    idle_gateway: Gateway, pool: ThreadPoolExecutor
) -> None:
    """Sessions used again just when their time is over: a turn is either served or refused, never cut off."""

    def use(pause: float) -> list[tuple[int, str]]:
        with Forge(base_url=idle_gateway.url, token=token) as app:
            session = app.create_session(agent="fake")
            path = f"/sessions/{session.session_id}/turn"
            found = []
            for _ in range(3):
                first = ask(app, "POST", path, {"prompt": f"[[SLEEP {pause}]][[SAY x]]"})
                found.append((first.status, first.body.get("stop_reason", first.body.get("code"))))
                idle_until = 1.0 + pause
                until_idle(idle_until)
            return found

    def until_idle(seconds: float) -> None:
        sleeper.run(f"[[SLEEP {seconds}]]", agent="fake")

    with tenant(idle_gateway) as sleeper:
        token = sleeper._config.token
        results = [each for found in pool.map(use, [0.0, 0.03, 0.06, 0.09]) for each in found]
    assert set(results) <= {(200, "end_turn"), (410, "session_closed")}
