"""Files that take long to lay, or for which there is no room: the turn ends in time, nothing is left half-laid.

The gateway's disk is made slow where a file is copied: it takes a block at a time, and a moment for each.
"""

from __future__ import annotations

import io
import os
import resource
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from clawdforge import Forge, Session
from harness import agents
from harness.gateway import Gateway, until
from harness.http import Answer, ask
from harness.prompts import cancel, running
from harness.prompts import turn as keyed_turn

SLOW_DISK = """
import os, runpy, time
def copy_file_range(source, target, size, quick=os.copy_file_range):
    time.sleep(0.02)
    return quick(source, target, 4096)
os.copy_file_range = copy_file_range
runpy.run_module("clawdforge", run_name="__main__", alter_sys=True)
"""
NO_INODES = """
import errno, os, runpy
def mkdir(path, *args, really=os.mkdir, **kwargs):
    if "/workspaces/" in str(path):
        raise OSError(errno.ENOSPC, "none left", str(path))
    really(path, *args, **kwargs)
os.mkdir = mkdir
runpy.run_module("clawdforge", run_name="__main__", alter_sys=True)
"""
SLOW_BYTES = 20_000_000
"""A hundred seconds."""


@pytest.fixture
def slow(new_gateway: agents.NewGateway) -> Iterator[Gateway]:
    yield new_gateway(program=("-c", SLOW_DISK)).start()


def turn(app: Forge, session: Session, prompt: str, *tokens: str, timeout_secs: int = 60) -> Answer:
    body = {"prompt": prompt, "files": list(tokens), "timeout_secs": timeout_secs}
    return ask(app, "POST", f"/sessions/{session.session_id}/turn", body)


def upload(app: Forge, name: str, size: int) -> str:
    file = io.BytesIO(bytes(size))
    file.name = name
    return app.upload_file(file).file_token


def until_laying(gateway: Gateway) -> None:
    """Waits until some of a large file is in a workspace, and not all of it."""
    files = "workspaces/*/large.bin"
    until(lambda: any(0 < each.stat().st_size < SLOW_BYTES for each in gateway.data_dir.glob(files)), files)


def test_a_turn_s_time_runs_while_its_files_are_laid(slow: Gateway) -> None:
    with slow.app() as app:
        session = app.create_session(agent="fake")
        small, large = upload(app, "small.bin", 10), upload(app, "large.bin", SLOW_BYTES)
        answer = turn(app, session, "too late", small, large, timeout_secs=1)
        assert answer.problem() == (504, "timeout")
        expected = {"phase": "total", "stop_reason": "timeout", "session_id": session.session_id, "turn_index": 1}
        assert answer.body.items() >= expected.items()
        assert os.listdir(session.cwd) == []
        assert session.turn("and on", files=[small]).text().endswith("and on")
        assert os.listdir(session.cwd) == ["small.bin"]
        assert (slow.heard("too late"), session.state()["turn_count"]) == (0, 2)


def test_a_run_s_time_too(slow: Gateway) -> None:
    with slow.app() as app:
        large = upload(app, "large.bin", SLOW_BYTES)
        body = {"prompt": "too late", "agent": "fake", "files": [large], "timeout_secs": 1}
        assert ask(app, "POST", "/run", body).problem() == (504, "timeout")
        [workspace] = (slow.data_dir / "workspaces").iterdir()
        assert os.listdir(workspace) == []
        assert slow.heard("too late") == 0


def test_a_close_does_not_wait_for_files(slow: Gateway, pool: ThreadPoolExecutor) -> None:
    with slow.app() as app:
        session = app.create_session(agent="fake")
        large = upload(app, "large.bin", SLOW_BYTES)
        answer = pool.submit(turn, app, session, "not heard", large)
        until_laying(slow)
        session.close()
        assert answer.result().body["stop_reason"] == "cancelled"
        assert os.listdir(session.cwd) == []
        assert slow.heard("not heard") == 0


def test_a_cancel_does_not_wait_for_files(slow: Gateway, pool: ThreadPoolExecutor) -> None:
    with slow.app() as app:
        session = app.create_session(agent="fake")
        large = upload(app, "large.bin", SLOW_BYTES)
        answer = pool.submit(turn, app, session, "not heard", large)
        until_laying(slow)
        assert cancel(app, session.session_id).body == {"ok": True, "cancelled": True, "turn_index": 1}
        assert answer.result().body["stop_reason"] == "cancelled"
        assert os.listdir(session.cwd) == []
        assert session.turn("and on").turn_index == 2
        assert slow.heard("not heard") == 0


def test_a_prompt_that_waits_can_be_cancelled_while_its_files_are_laid(
    slow: Gateway, pool: ThreadPoolExecutor
) -> None:
    """Those behind it are accepted after it, for their numbers, and then have their turn."""
    with slow.app() as app:
        session = app.create_session(agent="fake")
        large = upload(app, "large.bin", SLOW_BYTES)
        first = running(pool, app, session.session_id, "[[SAY begun]] [[HANG]]")
        waits = {"delivery": "queue", "files": [large]}
        second = pool.submit(keyed_turn, app, session.session_id, "not heard", key="second", **waits)
        until_laying(slow)
        third = pool.submit(keyed_turn, app, session.session_id, "[[SAY third]]", delivery="queue")
        assert cancel(app, session.session_id).body["turn_index"] == 1
        assert first.result().body["stop_reason"] == "cancelled"
        assert not second.done()
        assert cancel(app, session.session_id).body["cancelled"] is True
        assert (second.result().body["stop_reason"], second.result().body["turn_index"]) == ("cancelled", 2)
        assert (third.result().body["turn_index"], third.result().body["stop_reason"]) == (3, "end_turn")
        again = keyed_turn(app, session.session_id, "not heard", key="second", **waits)
        assert (again.raw, again.headers["idempotent-replayed"]) == (second.result().raw, "true")
        assert os.listdir(session.cwd) == []
        assert slow.heard("not heard") == 0


def test_a_stop_does_not_wait_for_files_and_the_turn_never_was(
    new_gateway: agents.NewGateway, pool: ThreadPoolExecutor
) -> None:
    gateway = new_gateway(program=("-c", SLOW_DISK), settings={"drain_timeout_secs": 0.1}).start()
    with gateway.app() as app:
        session = app.create_session(agent="fake")
        large = upload(app, "large.bin", SLOW_BYTES)
        answer = pool.submit(turn, app, session, "not heard", large)
        until_laying(gateway)
        assert gateway.stop() == 0
        assert answer.result().problem() == (503, "shutting_down")
        gateway.start()
        with Forge(base_url=gateway.url, token=app._config.token) as again:
            assert again.get_session(session.session_id)["turn_count"] == 0
        assert os.listdir(session.cwd) == []


def test_many_large_files_keep_nobody_else_waiting(slow: Gateway, pool: ThreadPoolExecutor) -> None:
    with slow.app() as app:
        large = upload(app, "large.bin", SLOW_BYTES)
        sessions = [app.create_session(agent="fake") for _ in range(12)]
        waiting = [pool.submit(turn, app, session, "x", large) for session in sessions]
        until_laying(slow)
        assert app.run("meanwhile", agent="fake").ok
        assert not any(each.done() for each in waiting)
        for session in sessions:
            session.close()
        assert {each.result().body["stop_reason"] for each in waiting} == {"cancelled"}


def test_a_file_for_which_the_workspace_has_no_room(new_gateway: agents.NewGateway) -> None:
    gateway = new_gateway().start()
    with gateway.app() as app:
        session = app.create_session(agent="fake")
        small, large = upload(app, "small.bin", 10), upload(app, "large.bin", SLOW_BYTES)
        fill(gateway, SLOW_BYTES // 2)
        assert turn(app, session, "no room", small, large).problem() == (507, "storage_full")
        run = {"prompt": "no room", "agent": "fake", "files": [small, large]}
        assert ask(app, "POST", "/run", run).problem() == (507, "storage_full")
        assert os.listdir(session.cwd) == []
        assert os.listdir(gateway.data_dir / "workspaces") == [session.session_id]
        assert session.turn("small", files=[small]).turn_index == 1
        fill(gateway, resource.RLIM_INFINITY)
        assert session.turn("large", files=[large]).turn_index == 2
        assert gateway.heard("no room") == 0


def test_the_files_of_a_turn_that_cannot_be_stored_are_not_left(new_gateway: agents.NewGateway) -> None:
    gateway = new_gateway().start()
    with gateway.app() as app:
        session = app.create_session(agent="fake")
        small = upload(app, "small.bin", 10)
        fill(gateway, (gateway.data_dir / "clawdforge.db-wal").stat().st_size)
        assert turn(app, session, "no room", small).problem() == (507, "storage_full")
        assert os.listdir(session.cwd) == []
        fill(gateway, resource.RLIM_INFINITY)
        assert session.turn("room", files=[small]).turn_index == 1
        assert os.listdir(session.cwd) == ["small.bin"]


def test_a_workspace_for_which_there_is_no_room(new_gateway: agents.NewGateway) -> None:
    gateway = new_gateway(program=("-c", NO_INODES)).start()
    with gateway.app() as app:
        for path, body in (("/sessions", {"agent": "fake"}), ("/run", {"agent": "fake", "prompt": "no room"})):
            assert ask(app, "POST", path, body).problem() == (507, "storage_full")
        assert app.list_sessions()["count"] == 0
        assert app.healthz()["open_sessions"] == 0
        assert gateway.heard("no room") == 0


def test_a_home_for_which_there_is_no_room(new_gateway: agents.NewGateway, tmp_path: Path) -> None:
    login = tmp_path / "login.json"
    login.write_bytes(bytes(1_000_000))
    entry = agents.scripted(login_files=[str(login)])
    gateway = new_gateway(agents={"at-home": entry}).start()
    with gateway.app() as app:
        fill(gateway, 900_000)
        for path, body in (("/sessions", {"agent": "at-home"}), ("/run", {"agent": "at-home", "prompt": "x"})):
            assert ask(app, "POST", path, body).problem() == (507, "storage_full")
        fill(gateway, resource.RLIM_INFINITY)
        assert app.run("x", agent="at-home").ok
        assert app.list_sessions()["count"] == 0


def fill(gateway: Gateway, room_bytes: int) -> None:
    """No file of the gateway's can become larger than this."""
    psutil.Process(gateway.pid).rlimit(resource.RLIMIT_FSIZE, (room_bytes, resource.RLIM_INFINITY))
