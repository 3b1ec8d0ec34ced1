"""Agents that do not come to where they could take a prompt: a clear error, no session, and nothing left."""

from __future__ import annotations

from pathlib import Path

import pytest

from clawdforge import Forge
from harness import agents
from harness.gateway import Gateway
from harness.http import ask
from harness.ledger import Ledger

DIES = {
    "fake-exit0": 0,
    "fake-exit1": 1,
    "fake-exit137": -9,  # as shells say it
    "fake-stderr-then-exit": 1,
    "fake-exit-new": 1,
}
ANSWERS_WRONG = {
    "fake-error-initialize": "Internal error",
    "fake-error-new": "Internal error",
    "fake-old-protocol": "version 2",
    "fake-no-session-id": "session id",
}


def nothing_is_left(app: Forge, gateway: Gateway, sessions_before: int) -> None:
    assert app.list_sessions()["count"] == 0
    assert app.healthz()["open_sessions"] == 0
    assert workspaces(gateway) == sessions_before
    assert list((gateway.data_dir / "tmp").iterdir()) == []
    assert gateway.children() == []


def workspaces(gateway: Gateway) -> int:
    folder = gateway.data_dir / "workspaces"
    return len(list(folder.iterdir())) if folder.exists() else 0


@pytest.mark.parametrize("agent", DIES)
def test_one_that_exits_before_it_is_ready_is_told_with_its_code(app: Forge, gateway: Gateway, agent: str) -> None:
    before = workspaces(gateway)
    found = ask(app, "POST", "/sessions", {"agent": agent})
    assert found.problem() == (502, "agent_failed")
    assert found.body["exit_code"] == DIES[agent]
    assert isinstance(found.body["stderr_tail"], str)
    nothing_is_left(app, gateway, before)


def test_its_last_words_are_told(app: Forge) -> None:
    found = ask(app, "POST", "/sessions", {"agent": "fake-stderr-then-exit"})
    assert "cannot start: no such thing" in found.body["stderr_tail"]


@pytest.mark.parametrize("agent", ANSWERS_WRONG)
def test_one_that_answers_wrong_is_told_with_its_words(app: Forge, gateway: Gateway, agent: str) -> None:
    before = workspaces(gateway)
    found = ask(app, "POST", "/sessions", {"agent": agent})
    assert found.problem() == (502, "agent_failed")
    assert ANSWERS_WRONG[agent] in found.body["detail"]
    nothing_is_left(app, gateway, before)


def test_one_that_wants_a_login_is_told_with_what_to_do(app: Forge) -> None:
    found = ask(app, "POST", "/sessions", {"agent": "fake-auth-required"})
    assert found.problem() == (502, "agent_failed")
    assert "login" in found.body["detail"]
    assert "[agents.fake-auth-required] env or inherit_env" in found.body["detail"]


@pytest.mark.parametrize("agent", ["fake-hang-initialize", "fake-hang-new"])
def test_one_that_hangs_is_given_up_in_time(strict_app: Forge, strict_gateway: Gateway, agent: str) -> None:
    before = workspaces(strict_gateway)
    found = ask(strict_app, "POST", "/sessions", {"agent": agent})
    assert found.problem() == (504, "timeout")
    assert found.body["phase"] == "startup"
    nothing_is_left(strict_app, strict_gateway, before)


def test_one_that_never_stops_talking_nonsense_is_given_up_in_time(
    strict_app: Forge, strict_gateway: Gateway
) -> None:
    before = workspaces(strict_gateway)
    found = ask(strict_app, "POST", "/sessions", {"agent": "fake-garbage"})
    assert found.status in (502, 504)
    nothing_is_left(strict_app, strict_gateway, before)


def test_one_that_logs_to_stdout_first_works(app: Forge) -> None:
    session = app.create_session(agent="fake-garbage-first")
    assert session.turn("hi").text() == "turn 1: hi"


def test_a_failed_start_of_a_run_is_a_turn_that_failed(app: Forge, db: Ledger) -> None:
    found = ask(app, "POST", "/run", {"prompt": "hi", "agent": "fake-exit1"})
    assert found.problem() == (502, "agent_failed")
    assert (found.body["exit_code"], found.body["turn_index"]) == (1, 1)
    assert [turn["error"] for turn in db.turns(found.body["session_id"])] == ["agent_failed"]


def test_a_program_that_cannot_be_executed_is_told_so(new_gateway: agents.NewGateway) -> None:
    gateway = new_gateway()
    script = gateway.root / "not-a-program"
    script.write_bytes(b"\x00\x01\x02 no program at all")
    script.chmod(0o755)
    gateway.agents = {"broken": {"argv": [str(script)]}}
    gateway.start()
    with gateway.app() as app:
        found = ask(app, "POST", "/sessions", {"agent": "broken"})
        assert found.problem() == (502, "agent_failed")
        assert found.body["exit_code"] in (1, 126, 127)
        assert "not-a-program" in found.body["stderr_tail"]
        nothing_is_left(app, gateway, 0)


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("true", "exited with code 0"),
        ("yes", "does not speak ACP"),
        ("zeroes", "more than 33554432 bytes"),
        ("cat", "refused to start"),
    ],
)
def test_a_program_that_is_no_agent_is_told_so_at_once(
    app: Forge, gateway: Gateway, program: str, said: str
) -> None:
    before = workspaces(gateway)
    found = ask(app, "POST", "/sessions", {"agent": program})
    assert found.problem() == (502, "agent_failed")
    assert said in found.body["detail"]
    nothing_is_left(app, gateway, before)


def test_one_that_floods_before_it_is_ready_does_not_fill_the_memory(app: Forge, gateway: Gateway) -> None:
    before, memory = workspaces(gateway), gateway.forget_peak()
    found = ask(app, "POST", "/sessions", {"agent": "flood", "startup_timeout_secs": 3})
    assert found.status in (502, 504)
    assert gateway.peak_bytes() - memory < 128 * 1024 * 1024
    nothing_is_left(app, gateway, before)


def test_a_session_whose_workspace_somebody_has_removed_is_told_so_by_the_path_that_its_agent_knows(
    app: Forge, gateway: Gateway
) -> None:
    session = app.create_session(agent="fake")
    ask(app, "POST", f"/sessions/{session.session_id}/turn", {"prompt": "[[EXIT 1]]"})
    workspace = Path(session.cwd)
    removed = workspace.rename(workspace.with_name(f"{session.session_id}-removed"))
    found = ask(app, "POST", f"/sessions/{session.session_id}/turn", {"prompt": "hi"})
    assert found.problem() == (502, "agent_failed")
    assert "/workspace: No such file" in found.body["stderr_tail"]
    assert str(gateway.data_dir) not in found.raw.decode()
    removed.rename(workspace)
    assert session.turn("back").text() == "turn 1: back"


def test_what_a_wall_says_of_its_own_parts_names_no_path_of_this_machine(new_gateway: agents.NewGateway) -> None:
    gateway = new_gateway(settings={"sandbox": "bwrap"}).start()
    etc = gateway.data_dir / "wall" / "etc"
    removed = etc.rename(etc.with_name("removed"))
    with gateway.app() as app:
        found = ask(app, "POST", "/sessions", {"agent": "fake"})
        assert found.problem() == (502, "agent_failed")
        assert "bwrap: Can't find source path /etc" in found.body["stderr_tail"]
        assert str(gateway.root) not in found.raw.decode()
        removed.rename(etc)
        assert app.run("hi", agent="fake").ok
