"""What agents start besides themselves: it ends with the turn that broke, the session, or the gateway."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from clawdforge import Forge
from harness.gateway import Gateway, until
from harness.http import ask
from harness.ledger import Ledger

LOST = {
    "a child that ignores SIGTERM": "[[CHILD]]",
    "a daemon": "[[DAEMON]]",
    "many children": "[[FORKS 20]]",
    "a shell's background job in a session of its own": "[[SH setsid sleep 300 >/dev/null 2>&1 &]]",
}


@pytest.mark.parametrize("how", LOST)
def test_whatever_an_agent_started_is_gone_with_its_session(app: Forge, gateway: Gateway, how: str) -> None:
    session = app.create_session(agent="fake", permissions="allow")
    session.turn(LOST[how])
    assert len(gateway.children()) > 1
    session.close()
    assert gateway.children() == []


@pytest.mark.parametrize("how", LOST)
def test_whatever_an_agent_started_is_gone_with_its_death(app: Forge, gateway: Gateway, how: str) -> None:
    session = app.create_session(agent="fake", permissions="allow")
    session.turn(LOST[how])
    answer = ask(app, "POST", f"/sessions/{session.session_id}/turn", {"prompt": "[[KILL9]]"})
    assert answer.problem() == (502, "agent_failed")
    assert gateway.children() == []
    assert session.turn("again").text() == "turn 1: again"


@pytest.mark.parametrize("how", LOST)
def test_whatever_a_run_started_is_gone_soon_after_it(app: Forge, gateway: Gateway, how: str) -> None:
    app.run(LOST[how], agent="fake", permissions="allow")
    until(lambda: gateway.children() == [], "the run's processes to be gone")


def test_a_grandchild_that_holds_the_pipe_does_not_hold_up_the_end(
    app: Forge, gateway: Gateway, db: Ledger
) -> None:
    session = app.create_session(agent="fake")
    answer = ask(app, "POST", f"/sessions/{session.session_id}/turn", {"prompt": "[[GRANDCHILD]]"})
    assert answer.problem() == (502, "agent_failed")
    assert answer.body["exit_code"] == 0
    [text] = [event["data"]["content"] for event in db.events(session.session_id) if event["type"] == "text"]
    assert not psutil.pid_exists(int(text)) or psutil.Process(int(text)).status() == psutil.STATUS_ZOMBIE
    assert gateway.children() == []


def test_a_daemon_that_ends_by_itself_leaves_no_zombie(app: Forge, gateway: Gateway) -> None:
    session = app.create_session(agent="fake", permissions="allow")
    mark = Path(session.cwd, "ended")
    session.turn(f"[[SH (setsid sh -c 'sleep 0.1; touch {mark}' >/dev/null 2>&1 &)]]")
    until(mark.exists, "the daemon to end")
    session.close()
    until(lambda: gateway.zombies() == [], f"zombies to be reaped: {gateway.zombies()}")


def test_a_temporary_directory_of_any_shape_is_gone_with_its_session(app: Forge, gateway: Gateway) -> None:
    session = app.create_session(agent="fake", permissions="allow")
    deep = "cd $TMPDIR; mkdir -m 0 locked; d=$(printf 'd/%.0s' $(seq 1000)); mkdir -p $d; cd $d; mkdir -p $d"
    session.turn(f"[[SH {deep}]]")
    folder = gateway.data_dir / "tmp" / session.session_id
    assert folder.is_dir()
    session.close()
    assert not folder.exists()
