"""What an agent is started with: a clean environment, homes and directories of its own, logins, and choices."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clawdforge import Forge, Session
from harness import agent_log, agents
from harness.gateway import Gateway
from harness.http import ask
from harness.tenants import tenant

GATEWAY_ENV = {
    "LANG": "C.UTF-8",
    "TZ": "Europe/Paris",
    "TERM": "dumb",
    "PASSED_ON": "by name",
    "SECRET_OF_THE_GATEWAY": "not for agents",
    "ANTHROPIC_API_KEY": "sk-ant-0123456789",
}


@pytest.fixture(scope="module")
def user_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of whoever runs the gateway."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def launching(tmp_path_factory: pytest.TempPathFactory, user_home: Path) -> Iterator[Gateway]:
    """A gateway in an environment that a test knows, with scripted agents in the place of real ones."""
    root = tmp_path_factory.mktemp("launching")
    by_models = {"FAKE_AGENT_MODEL_BY": "models"}
    gateway = Gateway(
        root,
        env={**GATEWAY_ENV, "HOME": str(user_home)},
        agents={
            "fake": agents.scripted(env={"ADDED": "by the settings"}, inherit_env=["PASSED_ON", "NOT_SET"]),
            "login": agents.scripted(login_files=["~/.fake/login.json", "~/.fake/missing.json"]),
            "claude": agents.scripted(env={"FAKE_AGENT_MODELS": "opus"}),
            "codex": agents.scripted(),
            "gemini": agents.scripted(env=by_models),
        },
    )
    gateway.start()
    yield gateway
    assert gateway.stop() == 0
    gateway.close()


@pytest.fixture
def forge(launching: Gateway) -> Iterator[Forge]:
    with tenant(launching) as app:
        yield app


def process(gateway: Gateway, session: Session) -> Path:
    """What this machine tells of a session's agent."""
    return Path("/proc", str(gateway.pid_here(session, session.turn("[[PID]]").text())))


def environment(gateway: Gateway, session: Session) -> dict[str, str]:
    """What a session's agent was started with."""
    raw = (process(gateway, session) / "environ").read_bytes().decode()
    return dict(item.split("=", 1) for item in raw.split("\0") if item)


def test_the_environment_holds_what_is_passed_on_by_name_and_nothing_else(
    forge: Forge, launching: Gateway
) -> None:
    session = forge.create_session(agent="fake")
    found = environment(launching, session)
    found.pop("PATH")
    mark = found.pop("CLAWDFORGE_CHILD")
    assert mark.endswith(f":{session.session_id}")
    assert found == {
        "HOME": "/home/agent",
        "TMPDIR": "/tmp",
        "PWD": "/workspace",
        "LANG": "C.UTF-8",
        "TZ": "Europe/Paris",
        "TERM": "dumb",
        "PASSED_ON": "by name",
        "ADDED": "by the settings",
        **agent_log.VARIABLE,
    }


def test_no_file_of_the_gateway_is_open_in_an_agent(forge: Forge, launching: Gateway) -> None:
    open_files = process(launching, forge.create_session(agent="fake")) / "fd"
    targets = {each.name: str(each.readlink()) for each in open_files.iterdir()}
    # Its own log, and the user namespace that it is in: it can enter no other by that.
    inherited = {name: each for name, each in targets.items() if not re.search(r"agent\.jsonl|^user:", each)}
    assert set(inherited) == {"0", "1", "2"}
    assert all(target.startswith("pipe:") for target in inherited.values())


def test_claude_gets_its_key_and_others_do_not(forge: Forge, launching: Gateway) -> None:
    claude = environment(launching, forge.create_session(agent="claude"))
    assert claude["ANTHROPIC_API_KEY"] == "sk-ant-0123456789"
    assert claude["DISABLE_TELEMETRY"] == "1"
    for name in ("fake", "codex", "gemini"):
        assert "ANTHROPIC_API_KEY" not in environment(launching, forge.create_session(agent=name))


def test_the_home_is_the_session_s_own_and_outlives_its_agent(forge: Forge, launching: Gateway) -> None:
    first, second = (forge.create_session(agent="fake", permissions="allow") for _ in range(2))
    assert first.turn("[[HOME]]").text() == second.turn("[[HOME]]").text() == "/home/agent"
    first.turn("[[SH echo mine > $HOME/note]]")
    assert second.turn("[[READ /home/agent/note]]").text() != "mine\n"
    ask(forge, "POST", f"/sessions/{first.session_id}/turn", {"prompt": "[[EXIT 1]]"})
    assert first.turn("[[READ /home/agent/note]]").text() == "mine\n"
    first.close()
    assert (launching.home(first) / "note").read_text() == "mine\n"
    for home in (launching.home(first), launching.home(second)):
        assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_the_temporary_directory_is_the_agent_s_own_and_goes_with_it(forge: Forge, launching: Gateway) -> None:
    first, second = (forge.create_session(agent="fake", permissions="allow") for _ in range(2))
    name = f"{first.session_id}/a/b"
    first.turn(f"[[SH mkdir -p $TMPDIR/{name}; echo mine > $TMPDIR/{name}/note]]")
    assert first.turn(f"[[READ /tmp/{name}/note]]").text() == "mine\n"
    assert second.turn(f"[[READ /tmp/{name}/note]]").text() != "mine\n"
    assert not Path("/tmp", name).exists()
    ask(forge, "POST", f"/sessions/{first.session_id}/turn", {"prompt": "[[EXIT 1]]"})
    assert first.turn(f"[[READ /tmp/{name}/note]]").text() != "mine\n"


def test_the_workspace_is_where_it_works(forge: Forge, launching: Gateway) -> None:
    session = forge.create_session(agent="fake")
    assert session.turn("[[CWD]]").text() == session.agent_cwd == session.state()["agent_cwd"] == "/workspace"
    assert Path(session.cwd).is_relative_to(launching.data_dir / "workspaces")
    assert stat.S_IMODE(Path(session.cwd).stat().st_mode) == 0o700


def test_the_client_offers_neither_files_nor_terminals(forge: Forge) -> None:
    offered = json.loads(forge.create_session(agent="fake").turn("[[CLIENT]]").text())
    assert offered["protocolVersion"] == 1
    assert offered["clientCapabilities"] == {
        "fs": {"readTextFile": False, "writeTextFile": False},
        "terminal": False,
    }
    assert offered["clientInfo"]["name"] == "clawdforge"


@pytest.fixture
def login(user_home: Path) -> Path:
    file = user_home / ".fake" / "login.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text("the login")
    file.chmod(0o644)
    return file


def test_a_login_is_copied_into_the_agent_s_home_for_its_eyes_only(
    forge: Forge, launching: Gateway, login: Path
) -> None:
    session = forge.create_session(agent="login")
    copy = launching.home(session) / ".fake" / "login.json"
    assert session.turn("[[READ /home/agent/.fake/login.json]]").text() == "the login"
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert not copy.with_name("missing.json").exists()


def test_a_login_that_the_agent_renewed_is_kept_after_the_turn(forge: Forge, login: Path) -> None:
    session = forge.create_session(agent="login", permissions="allow")
    session.turn("[[SH printf renewed > $HOME/.fake/login.json]]")
    assert login.read_text() == "renewed"
    assert (stat.S_IMODE(login.stat().st_mode), login.stat().st_uid) == (0o644, os.getuid()), "as its user has it"
    login.write_text("renewed elsewhere")
    later = forge.create_session(agent="login")
    assert later.turn("[[READ /home/agent/.fake/login.json]]").text() == "renewed elsewhere"


def test_a_login_that_was_renewed_at_the_very_end_is_kept_too(forge: Forge, login: Path) -> None:
    forge.run("[[SH printf 'by a run' > $HOME/.fake/login.json]]", agent="login", permissions="allow")
    assert login.read_text() == "by a run"
    session = forge.create_session(agent="login", permissions="allow")
    late = "(sleep 0.2; printf late > $HOME/.fake/login.json; touch written) >/dev/null 2>&1 &"
    session.turn(f"[[SH {late}]]")
    agents.until_exists(Path(session.cwd, "written"))
    session.close()
    assert login.read_text() == "late"


def test_a_login_that_nobody_changed_is_left_alone(forge: Forge, login: Path) -> None:
    before = login.stat()
    forge.run("hi", agent="login")
    after = login.stat()
    assert (after.st_mtime_ns, after.st_ino, after.st_mode) == (before.st_mtime_ns, before.st_ino, before.st_mode)


def test_a_link_in_the_place_of_a_login_is_not_followed(forge: Forge, login: Path, user_home: Path) -> None:
    target = user_home / "not-a-login"
    target.write_text("private")
    session = forge.create_session(agent="login", permissions="allow")
    session.turn(f"[[SH ln -sf {target} $HOME/.fake/login.json]]")
    assert login.read_text() == "the login"
    session.close()
    assert forge.create_session(agent="login").turn("hi").ok
    assert target.read_text() == "private"


SYSTEM = 'Speak "softly"\n$HOME and größe'


def test_claude_takes_its_choices_in_the_meta_of_its_session_and_by_its_options(forge: Forge) -> None:
    session = forge.create_session(agent="claude", model="opus", effort="max", system=SYSTEM)
    meta = json.loads(session.turn("[[META]]").text())["session"]
    options = meta["claudeCode"]["options"]
    assert (options["settingSources"], options["model"]) == (["user"], "opus")
    config = json.loads(session.turn("[[CONFIG]]").text())
    assert config == {"mode": "ask", "model": "opus", "effort": "max"}
    assert meta["systemPrompt"] == {"append": SYSTEM}
    replaced = forge.create_session(agent="claude", system=SYSTEM, system_mode="replace")
    assert json.loads(replaced.turn("[[SYSTEM]]").text()) == SYSTEM


def test_codex_takes_its_system_prompt_as_an_argument(forge: Forge) -> None:
    session = forge.create_session(agent="codex", system=SYSTEM)
    *_, flag, value = json.loads(session.turn("[[ARGV]]").text())
    assert flag == "-c"
    name, _, quoted = value.partition("=")
    assert (name, json.loads(quoted)) == ("developer_instructions", SYSTEM)


def test_codex_takes_another_system_prompt_as_a_file(forge: Forge, launching: Gateway) -> None:
    session = forge.create_session(agent="codex", system=SYSTEM, system_mode="replace")
    *_, flag, value = json.loads(session.turn("[[ARGV]]").text())
    assert flag == "-c"
    name, _, path = value.partition("=")
    assert name == "model_instructions_file"
    assert session.turn(f"[[READ {path}]]").text() == SYSTEM
    [kept] = (launching.data_dir / "tmp" / session.session_id).iterdir()
    assert kept.read_text() == SYSTEM
    session.close()
    assert not kept.parent.exists()


def test_gemini_takes_its_model_by_a_method_and_another_system_prompt_as_a_file(forge: Forge) -> None:
    session = forge.create_session(agent="gemini", model="fake-large", system=SYSTEM, system_mode="replace")
    assert json.loads(session.turn("[[CONFIG]]").text())["model"] == "fake-large"
    path = session.turn("[[ENV GEMINI_SYSTEM_MD]]").text()
    assert session.turn(f"[[READ {path}]]").text() == SYSTEM


def test_an_agent_without_a_way_of_its_own_hears_the_system_prompt_ahead_of_the_first_prompt(forge: Forge) -> None:
    session = forge.create_session(agent="fake", system=SYSTEM)
    blocks = json.loads(session.turn("[[BLOCKS]]").text())
    assert blocks == [{"type": "text", "text": SYSTEM}, {"type": "text", "text": "[[BLOCKS]]"}]
    assert len(json.loads(session.turn("[[BLOCKS]]").text())) == 1
    ask(forge, "POST", f"/sessions/{session.session_id}/turn", {"prompt": "[[EXIT 1]]"})
    system, _said_before, prompt = json.loads(session.turn("[[BLOCKS]]").text())
    assert [system, prompt] == blocks


def test_a_model_is_chosen_by_a_config_option_also_after_a_restart(forge: Forge) -> None:
    session = forge.create_session(agent="fake", model="fake-small")
    assert session.state()["model"] == "fake-small"
    assert json.loads(session.turn("[[CONFIG]]").text())["model"] == "fake-small"
    ask(forge, "POST", f"/sessions/{session.session_id}/turn", {"prompt": "[[EXIT 1]]"})
    assert json.loads(session.turn("[[CONFIG]]").text())["model"] == "fake-small"


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"agent": "fake", "model": "no-such-model"}, "model"),
    ({"agent": "gemini", "model": "no-such-model"}, "model"),
    ({"agent": "fake", "effort": "high"}, "effort"),
    ({"agent": "codex", "effort": "max"}, "effort"),
    ({"agent": "codex", "effort": "high"}, "effort"),
    ({"agent": "fake", "system": "x", "system_mode": "replace"}, "system_mode"),
    ({"agent": "claude", "system_mode": "replace"}, "system_mode"),
]


@pytest.mark.parametrize(("choice", "field"), REFUSED, ids=str)
def test_a_choice_that_an_agent_cannot_take_is_refused_by_its_name(
    forge: Forge, launching: Gateway, choice: dict[str, Any], field: str
) -> None:
    for path, more in (("/sessions", {}), ("/run", {"prompt": "never told"})):
        answer = ask(forge, "POST", path, {**choice, **more})
        assert answer.problem() == (422, "invalid")
        assert answer.body["errors"][0]["loc"] == [field]
    assert forge.list_sessions()["count"] == 0
    assert launching.heard("never told") == 0
