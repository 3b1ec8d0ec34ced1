"""What agents start besides themselves: it ends with the turn that broke, the session, or the gateway."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from clawdforge import Forge
from clawdforge.client.session import Session
from harness.gateway import Gateway, until
from harness.http import ask
from harness.ledger import Ledger
from harness.levels import gateway_at
from harness.tenants import tenant

ALONE = 3
"""Processes of an agent that has started nothing: itself, and the wall's two."""

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
    until(lambda: len(gateway.children(session)) > ALONE, "what it started to be seen")
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


STRAYS = {
    "without an environment": "env -i setsid sleep 300",
    "with another": "env -i A=b setsid sleep 300",
    "with children": "env -i setsid sh -c 'sleep 300 & setsid sleep 300 & wait'",
}


def stray(session: Session, how: str) -> psutil.Process:
    """Lets a session's agent start a daemon that nothing ties to it."""
    file = Path(session.cwd, "pid")
    session.turn(f"[[SH ({STRAYS[how]} >/dev/null 2>&1 & echo $! > {file}.new; mv {file}.new {file})]]")
    return psutil.Process(int(file.read_text()))


@pytest.fixture(scope="module")
def open_gateway() -> Iterator[Gateway]:
    """One without a wall."""
    with gateway_at("none") as gateway:
        yield gateway.start()


@pytest.mark.parametrize("how", STRAYS)
def test_a_daemon_that_hides_from_its_agent_is_gone_with_its_session(open_gateway: Gateway, how: str) -> None:
    """Where no wall holds it."""
    with tenant(open_gateway) as app:
        first = app.create_session(agent="fake", permissions="allow")
        second = app.create_session(agent="fake", permissions="allow")
        daemon = stray(first, how)
        assert daemon.ppid() == open_gateway.pid
        family = [daemon, *daemon.children(recursive=True)]
        first.close()
        assert not any(each.is_running() for each in family)
        assert second.turn("hi").ok
        assert open_gateway.zombies() == []


def test_a_daemon_that_hides_from_its_agent_is_gone_with_the_gateway() -> None:
    """Where no wall holds them."""
    with gateway_at("none") as gateway:
        with gateway.start().app() as app:
            sessions = {how: app.create_session(agent="fake", permissions="allow") for how in STRAYS}
            daemons = [stray(session, how) for how, session in sessions.items()]
            family = [each for daemon in daemons for each in (daemon, *daemon.children(recursive=True))]
            assert gateway.stop() == 0
        until(lambda: not any(each.is_running() for each in family), "the daemons to be gone")


def test_a_grandchild_that_holds_the_pipe_does_not_hold_up_the_end(
    app: Forge, gateway: Gateway, db: Ledger
) -> None:
    session = app.create_session(agent="fake")
    answer = ask(app, "POST", f"/sessions/{session.session_id}/turn", {"prompt": "[[GRANDCHILD]]"})
    assert answer.problem() == (502, "agent_failed")
    assert answer.body["exit_code"] == 0
    assert [event["type"] for event in db.events(session.session_id)].count("text") == 1, "it was started"
    assert gateway.children() == []


def test_a_daemon_that_ends_by_itself_leaves_no_zombie(app: Forge, gateway: Gateway) -> None:
    session = app.create_session(agent="fake", permissions="allow")
    session.turn("[[SH (setsid sh -c 'sleep 0.1; touch ended' >/dev/null 2>&1 &)]]")
    until(Path(session.cwd, "ended").exists, "the daemon to end")
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
