"""When the machine has no more to give: files, or the database's lock. Told, survived, and nothing is left."""

from __future__ import annotations

import os
import resource
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress

import psutil
import pytest

from clawdforge import Forge
from clawdforge.server.store.sqlite import FILE_NAME
from harness import agents, http
from harness.agents import NewGateway
from harness.gateway import Gateway, until
from harness.http import ask
from harness.tenants import tenant


@pytest.mark.parametrize("network", ["open", "none"])
def test_an_agent_that_cannot_start_for_want_of_files_is_told_and_nothing_is_left_open(
    new_gateway: NewGateway, network: str
) -> None:
    """Wherever on its way the last one is taken."""
    fake = agents.scripted(base_url="http://127.0.0.1:9", env={"MODEL": "{base_url}"})
    gateway = new_gateway(agents={"fake": fake}, settings={"sandbox": "bwrap", "network": network}).start()
    with gateway.app() as app, closing(http.connect(gateway.url)) as connection:
        app.run("warm up", agent="fake")
        gateway.settle()
        http.send(connection, "GET", "/sessions", token=app._config.token)
        assert http.receive(connection).status == 200
        process = psutil.Process(gateway.pid)
        usual = process.rlimit(resource.RLIMIT_NOFILE)
        held = open_files(gateway)
        for more in range(1, 60):
            process.rlimit(resource.RLIMIT_NOFILE, (max(held) + 1 + more, usual[1]))
            http.send(connection, "POST", "/sessions", token=app._config.token, body={"agent": "fake"})
            told = http.receive(connection)
            process.rlimit(resource.RLIMIT_NOFILE, usual)
            if told.status == 200:
                break
            assert told.problem() == (502, "agent_failed"), told.body
            assert "Too many open files" in told.body["detail"]
            until(lambda: open_files(gateway) == held, "what the start has opened to be closed")
            assert gateway.children() == []
            assert app.list_sessions()["count"] == 0
        assert (told.status, more > 1) == (200, True)
        with app.session(agent="fake") as session:
            assert session.turn("hi").text() == "turn 1: hi"


def test_clients_that_take_all_files_keep_nobody_s_turn_and_leave_room_when_they_go(
    new_gateway: NewGateway,
) -> None:
    gateway = new_gateway().start()
    with gateway.app() as app, closing(http.connect(gateway.url)) as mine:
        session = app.create_session(agent="fake")
        path = f"/sessions/{session.session_id}/turn"
        http.send(mine, "POST", path, token=app._config.token, body={"prompt": "one"})
        assert http.receive(mine).status == 200
        process = psutil.Process(gateway.pid)
        usual = process.rlimit(resource.RLIMIT_NOFILE)
        process.rlimit(
            resource.RLIMIT_NOFILE, (max(map(int, os.listdir(f"/proc/{gateway.pid}/fd"))) + 20, usual[1])
        )
        crowd = [http.connect(gateway.url) for _ in range(60)]
        for each in crowd:
            each.connect()
        until(lambda: "Too many open files" in gateway.log(), "the last file to be taken")
        http.send(mine, "POST", path, token=app._config.token, body={"prompt": "two"})
        answer = http.receive(mine)
        assert (answer.status, answer.body["events"][0]["content"]) == (200, "turn 2: two")
        for each in crowd:
            each.close()
        assert app.run("others", agent="fake").ok
        session.close()
    assert gateway.stop() == 0


def open_files(gateway: Gateway) -> set[int]:
    """Their numbers, but for the store's: it opens another reader where two read at a time, and keeps it."""
    found = set()
    for each in os.listdir(f"/proc/{gateway.pid}/fd"):
        with suppress(FileNotFoundError):
            if FILE_NAME not in os.readlink(f"/proc/{gateway.pid}/fd/{each}"):
                found.add(int(each))
    return found


def test_a_turn_waits_for_a_database_that_somebody_else_holds(
    new_gateway: NewGateway, pool: ThreadPoolExecutor
) -> None:
    gateway = new_gateway().start()
    with tenant(gateway) as app, closing(sqlite3.connect(gateway.data_dir / "clawdforge.db")) as other:
        session = app.create_session(agent="fake")
        other.execute("BEGIN IMMEDIATE")
        waiting = pool.submit(session.turn, "patience")
        assert app.healthz()["ok"] is True
        assert sessions_told(app) == 1
        other.execute("ROLLBACK")
        assert waiting.result().text() == "turn 1: patience"


def sessions_told(app: Forge) -> int:
    """What can be read while nothing can be written."""
    return int(ask(app, "GET", "/sessions").body["count"])
