"""When the machine has no more to give: files, or the database's lock. Told, survived, and nothing is left."""

from __future__ import annotations

import os
import resource
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psutil

from clawdforge import Forge
from harness import http
from harness.agents import NewGateway
from harness.http import ask
from harness.tenants import tenant


def test_an_agent_that_cannot_start_for_want_of_files_is_told_and_the_next_one_starts(
    new_gateway: NewGateway,
) -> None:
    gateway = new_gateway().start()
    with gateway.app() as app, closing(http.connect(gateway.url)) as connection:
        app.run("warm up", agent="fake")
        gateway.settle()
        http.send(connection, "GET", "/sessions", token=app._config.token)
        assert http.receive(connection).status == 200
        process = psutil.Process(gateway.pid)
        usual = process.rlimit(resource.RLIMIT_NOFILE)
        highest = max(int(each) for each in os.listdir(f"/proc/{gateway.pid}/fd"))
        process.rlimit(resource.RLIMIT_NOFILE, (highest + 6, usual[1]))  # a child takes eight for a moment
        http.send(connection, "POST", "/sessions", token=app._config.token, body={"agent": "fake"})
        refused = http.receive(connection)
        process.rlimit(resource.RLIMIT_NOFILE, usual)
        assert refused.problem() == (502, "agent_failed")
        assert "Too many open files" in refused.body["detail"]
        gateway.settle()
        assert app.list_sessions()["count"] == 0
        with app.session(agent="fake") as session:
            assert session.turn("hi").text() == "turn 1: hi"


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
