"""Agents that take more than their share: processes, memory, disk, files. What can be promised without a sandbox.

The greed is bounded, for the machine's sake; `docs/resilience.md` says what is not promised.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path

import psutil
import pytest

from clawdforge import Forge
from clawdforge.client.session import Session
from harness import http
from harness.agents import NewGateway
from harness.gateway import Gateway, until
from harness.http import ask
from harness.ledger import Ledger
from harness.levels import gateway_at
from harness.tenants import tenant

MIB = 1024 * 1024
FOR_ONE_START = 20
"""A child takes eight files for a moment, its wall as many, a thread that looks after its home another."""

TREES = {"children": "[[FORKS 300]]", "twins that replace each other": "[[RESPAWN 100]]"}


@pytest.mark.parametrize("how", TREES)
def test_a_tree_of_hundreds_is_gone_with_its_session_and_its_neighbour_is_not(
    app: Forge, gateway: Gateway, how: str
) -> None:
    greedy, neighbour = app.create_session(agent="fake"), app.create_session(agent="fake")
    greedy.turn(TREES[how])
    until(lambda: len(gateway.children(greedy)) > 200, "the tree to have grown")
    greedy.close()
    assert gateway.children(greedy) == []
    assert gateway.children(neighbour) != []
    assert neighbour.turn("still here?").text() == "turn 1: still here?"


@pytest.mark.parametrize("how", TREES)
def test_a_tree_of_hundreds_is_gone_with_its_agent_s_death(app: Forge, gateway: Gateway, how: str) -> None:
    session = app.create_session(agent="fake")
    answer = ask(app, "POST", f"/sessions/{session.session_id}/turn", {"prompt": f"{TREES[how]}[[KILL9]]"})
    assert answer.problem() == (502, "agent_failed")
    assert gateway.children() == []
    assert session.turn("again").text() == "turn 1: again"


def grow(app: Forge) -> list[Session]:
    """Sessions with a tree of each kind."""
    sessions = [app.create_session(agent="fake") for _ in TREES]
    for session, tree in zip(sessions, TREES.values(), strict=True):
        session.turn(f"[[IGNORE_EOF]]{tree}")
    return sessions


def test_a_tree_of_hundreds_of_a_killed_gateway_ends_with_it(new_gateway: NewGateway) -> None:
    gateway = new_gateway().start()
    with gateway.app() as app:
        for session in grow(app):
            until(lambda session=session: len(gateway.children(session)) > 200, "the tree to have grown")
    gateway.kill()
    until(lambda: gateway.children() == [], "the trees to be gone")


def test_a_tree_of_hundreds_that_a_killed_gateway_left_is_gone_when_the_next_one_listens() -> None:
    """Where no wall ends them."""
    with gateway_at("none") as gateway:
        with gateway.start().app() as app:
            sessions = grow(app)
        gateway.kill()
        assert all(len(gateway.children(each)) > 200 for each in sessions)
        gateway.start()
        assert gateway.children() == []


def test_one_that_grows_until_it_is_killed_is_told_so_and_the_gateway_does_not_grow(
    app: Forge, gateway: Gateway, db: Ledger
) -> None:
    """As the kernel does it that has no more memory: by SIGKILL."""
    session = app.create_session(agent="fake")
    before = gateway.forget_peak()
    prompt = {"prompt": "[[MEMORY 300000000]][[KILL9]]"}
    answer = ask(app, "POST", f"/sessions/{session.session_id}/turn", prompt)
    assert answer.problem() == (502, "agent_failed")
    assert answer.body["exit_code"] == -9
    assert "signal 9" in answer.body["detail"]
    assert gateway.peak_bytes() - before < 32 * MIB
    assert "holding 300000000 bytes" in [event["data"].get("content") for event in db.events(session.session_id)]
    assert session.turn("again").text() == "turn 1: again"


def test_one_that_fills_its_disk_is_told_so_by_the_system_and_goes_on(new_gateway: NewGateway) -> None:
    """The gateway's own limit on the size of a file stands in for a disk that is full: its children inherit it."""
    gateway = new_gateway().start()
    with gateway.app() as app:
        psutil.Process(gateway.pid).rlimit(resource.RLIMIT_FSIZE, (16 * MIB, resource.RLIM_INFINITY))
        session = app.create_session(agent="fake")
        assert session.turn("[[DISK big 100000000]]").text() == "cannot fill big: File too large"
        assert Path(session.cwd, "big").stat().st_size == 16 * MIB
        assert session.turn("and now?").text() == "turn 2: and now?"


@contextmanager
def room_for(gateway: Gateway, files: int) -> Iterator[None]:
    """Leaves the gateway so many files to open."""
    process = psutil.Process(gateway.pid)
    usual = process.rlimit(resource.RLIMIT_NOFILE)
    used = {int(each) for each in os.listdir(f"/proc/{gateway.pid}/fd")}
    free = (number for number in range(usual[0]) if number not in used)
    limit = next(number for place, number in enumerate(free) if place == files)
    process.rlimit(resource.RLIMIT_NOFILE, (limit, usual[1]))
    try:
        yield
    finally:
        process.rlimit(resource.RLIMIT_NOFILE, usual)


@pytest.fixture(scope="module")
def warm_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One that nobody else uses, so that nobody else takes its files."""
    gateway = Gateway(tmp_path_factory.mktemp("warm"), settings={"cancel_timeout_secs": 0.5}).start()
    yield gateway
    assert gateway.stop() == 0, gateway.log()
    gateway.close()


@pytest.fixture
def scarce_gateway(warm_gateway: Gateway) -> Iterator[tuple[Gateway, Forge, HTTPConnection]]:
    """A gateway with all its threads and files, an app, and a connection that is open already."""
    gateway = warm_gateway
    with tenant(gateway) as app, closing(http.connect(gateway.url)) as connection:
        app.run("warm up", agent="fake")
        gateway.settle()
        http.send(connection, "GET", "/sessions", token=app._config.token)
        assert http.receive(connection).status == 200
        yield gateway, app, connection


def test_a_start_for_which_there_are_no_files_leaves_nothing_wherever_it_fails(
    scarce_gateway: tuple[Gateway, Forge, HTTPConnection],
) -> None:
    gateway, app, connection = scarce_gateway
    told = []
    for files in range(FOR_ONE_START + 1):
        with room_for(gateway, files):
            http.send(connection, "POST", "/sessions", token=app._config.token, body={"agent": "fake"})
            found = http.receive(connection)
        told.append(found.status)
        if found.status == 200:
            app.attach_session(found.body["session_id"]).close()
        else:
            assert found.problem() == (502, "agent_failed")
            assert "Too many open files" in found.body["detail"]
        gateway.settle()
        assert app.list_sessions(include_closed=False)["count"] == 0
        assert list((gateway.data_dir / "tmp").iterdir()) == []
    assert (told[0], told[-1]) == (502, 200)
    with app.session(agent="fake") as session:
        assert session.turn("hi").text() == "turn 1: hi"


@pytest.mark.parametrize("files", [0, 1, 2, 3])
def test_an_agent_is_ended_with_its_tree_also_where_there_are_no_files_to_look_for_it(
    scarce_gateway: tuple[Gateway, Forge, HTTPConnection], files: int
) -> None:
    gateway, app, connection = scarce_gateway
    session = app.create_session(agent="fake")
    session.turn("[[IGNORE_EOF]][[IGNORE_SIGTERM]][[FORKS 20]][[DAEMON]]")
    with room_for(gateway, files):
        http.send(connection, "DELETE", f"/sessions/{session.session_id}", token=app._config.token)
        assert http.receive(connection).status == 200
    gateway.settle()
    assert app.run("and now?", agent="fake").ok
