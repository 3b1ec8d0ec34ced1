"""How the real `gemini` comes by its login: by a key, by Vertex AI or from its user; else it says what to do.

The gateways here have no settings for it, and nothing can leave this machine: its only way out is a closed door.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from clawdforge import ForgeAPIError
from clawdforge.testing.fake_model import FakeModel
from harness.gateway import Gateway

CLOSED = "http://127.0.0.1:9"
WAYS_IN = ("~/.gemini/oauth_creds.json", "GEMINI_API_KEY")

Start = Callable[..., Gateway]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home of a user whose own settings give rights, bring a server, and choose a login that he has not."""
    settings = {
        "general": {"defaultApprovalMode": "auto_edit"},
        "mcpServers": {"his": {"command": "touch", "args": [str(tmp_path / "server")]}},
        "security": {"auth": {"selectedType": "vertex-ai"}},
        "tools": {"allowed": ["run_shell_command"]},
    }
    home = tmp_path / "home"
    (home / ".gemini").mkdir(parents=True)
    (home / ".gemini" / "settings.json").write_text(json.dumps(settings))
    return home


@pytest.fixture
def start(tmp_path: Path, home: Path, node_agents: Path) -> Iterator[Start]:
    """Starts a gateway of this user's with some variables in its environment."""
    started: list[Gateway] = []

    def gateway(agent_env: dict[str, str] | None = None, **env: str) -> Gateway:
        path = f"{node_agents}{os.pathsep}{os.environ['PATH']}"
        agents = {"gemini": {"env": agent_env}} if agent_env else {}
        started.append(Gateway(tmp_path, agents=agents, env={"PATH": path, "HOME": str(home), **env}).start())
        return started[-1]

    yield gateway
    for each in started:
        assert each.stop() == 0, each.log()
        each.close()


def log_in(home: Path) -> str:
    """What Gemini CLI keeps of a login with Google."""
    login = {"access_token": "ya29.scripted", "refresh_token": "1//scripted-token", "expiry_date": 1}
    (home / ".gemini" / "oauth_creds.json").write_text(json.dumps(login))
    return json.dumps(login)


def test_without_a_login_it_says_how_to_log_in(start: Start, model: FakeModel) -> None:
    with start(GOOGLE_GEMINI_BASE_URL=model.url).app() as app, pytest.raises(ForgeAPIError) as caught:
        app.run("[[SAY hello]]", agent="gemini")
    assert (caught.value.status_code, caught.value.code) == (502, "agent_failed")
    assert all(way in caught.value.detail for way in WAYS_IN)


def test_a_key_is_enough_and_comes_before_a_login(
    start: Start, home: Path, model: FakeModel, tmp_path: Path
) -> None:
    log_in(home)
    gateway = start(GEMINI_API_KEY="a-key-of-the-user", GOOGLE_GEMINI_BASE_URL=model.url)
    with gateway.app() as app, app.session("gemini", permissions="deny") as session:
        turn = session.turn("[[BASH touch mine]]")
        assert [each["decision"] for each in turn.events if each["type"] == "permission_answer"] == ["reject"]
    assert model.turns[-1].headers["x-goog-api-key"] == "a-key-of-the-user"
    assert not (tmp_path / "server").exists(), "a login comes in, rights and servers do not"
    assert "a-key-of-the-user" not in gateway.log()


def test_an_endpoint_that_is_not_there_is_told_in_time(start: Start) -> None:
    """Where no model is chosen it asks a small one which to take: that one is not there either.

    Side by side, for it waits between tries.
    """
    gateway = start(GEMINI_API_KEY="a-key-of-the-user", GOOGLE_GEMINI_BASE_URL=CLOSED)
    with gateway.app(default_timeout_secs=30) as app, ThreadPoolExecutor(2) as threads:
        for run in [
            threads.submit(app.run, "hello", agent="gemini", model=model)
            for model in (None, "gemini-3-flash-preview")
        ]:
            with pytest.raises(ForgeAPIError) as caught:
                run.result()
            assert (caught.value.status_code, caught.value.code) == (502, "agent_failed")
            assert "fetch failed" in caught.value.detail


def test_a_key_of_google_cloud_goes_to_vertex(start: Start, model: FakeModel) -> None:
    with start(GOOGLE_API_KEY="a-key-of-the-cloud", GOOGLE_VERTEX_BASE_URL=model.url).app() as app:
        assert app.run("[[SAY hello]]", agent="gemini").result == "hello"
    assert model.turns[-1].headers["x-goog-api-key"] == "a-key-of-the-cloud"
    assert "/publishers/google/" in model.turns[-1].path


def test_a_login_that_nobody_takes_any_more_is_told_at_once(start: Start, home: Path) -> None:
    """Its user's login is there, and no endpoint takes it: gemini asks for a person, on its terminal."""
    login = log_in(home)
    gateway = start({"HTTPS_PROXY": CLOSED, "HTTP_PROXY": CLOSED, "CODE_ASSIST_ENDPOINT": CLOSED})
    with gateway.app() as app, pytest.raises(ForgeAPIError) as caught:
        app.run("[[SAY hello]]", agent="gemini")
    assert (caught.value.status_code, caught.value.code) == (502, "agent_failed")
    assert "wants a login" in caught.value.detail
    assert all(way in caught.value.detail for way in WAYS_IN)
    assert (home / ".gemini" / "oauth_creds.json").read_text() == login
    assert not list((gateway.data_dir / "homes").glob("*/.gemini/oauth_creds.json")), "no agent runs with a copy"
