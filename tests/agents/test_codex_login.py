"""How the real `codex` comes by its login: by its user's file, else by a key of the gateway's, else it says how.

It works with OpenAI's own way to the model here, whose endpoint alone is another.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from clawdforge import Forge, ForgeAPIError
from clawdforge.testing.fake_model import FakeModel
from harness.gateway import Gateway

LOGIN = Path(".codex") / "auth.json"
Started = Callable[..., AbstractContextManager[Gateway]]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home of a user who has not logged in."""
    home = tmp_path / "home"
    (home / ".codex").mkdir(parents=True)
    (home / ".codex" / "config.toml").write_text('model = "gpt-5.2"\n')
    return home


@pytest.fixture
def started(tmp_path: Path, home: Path, node_agents: Path, model: FakeModel) -> Started:
    """Starts a gateway of this user's, with these variables in its environment."""

    @contextmanager
    def start(**env: str) -> Iterator[Gateway]:
        path = f"{node_agents}{os.pathsep}{os.environ['PATH']}"
        agents = {"codex": {"argv": ["codex-acp", "-c", f'openai_base_url="{model.url}/v1"']}}
        gateway = Gateway(tmp_path, env={"PATH": path, "HOME": str(home), **env}, agents=agents).start()
        yield gateway
        assert gateway.stop() == 0, gateway.log()
        gateway.close()
        assert "sk-of-" not in gateway.log()

    return start


def log_in(home: Path, key: str) -> None:
    (home / LOGIN).write_text(json.dumps({"OPENAI_API_KEY": key}))
    (home / LOGIN).chmod(0o600)


def files(home: Path) -> dict[str, bytes]:
    return {str(path.relative_to(home)): path.read_bytes() for path in home.rglob("*") if path.is_file()}


def bearer(model: FakeModel) -> str:
    assert model.turns[-1].model != "gpt-5.2", "its user's own settings are his alone"
    return model.turns[-1].headers["authorization"]


def test_without_a_login_it_says_how_to_log_in_and_works_once_that_is_done(
    started: Started, home: Path, model: FakeModel
) -> None:
    with started() as gateway, gateway.app() as app:
        with pytest.raises(ForgeAPIError) as caught:
            app.create_session("codex")
        assert (caught.value.status_code, caught.value.code) == (502, "agent_failed")
        for way in ("~/.codex/auth.json", "CODEX_API_KEY", "OPENAI_API_KEY"):
            assert way in caught.value.detail
        log_in(home, "sk-of-the-user")
        assert app.run("[[SAY hello]]", agent="codex").result == "hello"
        assert bearer(model) == "Bearer sk-of-the-user"
        before = files(home)
        (home / LOGIN).unlink()
        with pytest.raises(ForgeAPIError, match="wants a login"):
            app.run("[[SAY hello]]", agent="codex")
        assert files(home).keys() == before.keys() - {str(LOGIN)}


@pytest.mark.parametrize("variable", ["CODEX_API_KEY", "OPENAI_API_KEY"])
def test_a_key_of_the_gateways_environment_will_do_and_becomes_nobodys_login(
    started: Started, home: Path, model: FakeModel, variable: str
) -> None:
    before, token = files(home), ""
    for key in ("sk-of-yesterday", "sk-of-today"):
        with started(**{variable: key}) as gateway:
            with gateway.admin() as admin:
                token = token or admin.mint_token("app").token
            with Forge(base_url=gateway.url, token=token) as app:
                assert app.run("[[SAY hello]]", agent="codex").result == "hello"
            assert bearer(model) == f"Bearer {key}"
    assert files(home) == before


def test_a_login_goes_before_a_key(started: Started, home: Path, model: FakeModel) -> None:
    log_in(home, "sk-of-the-user")
    with started(OPENAI_API_KEY="sk-of-the-gateway") as gateway, gateway.app() as app:
        app.run("[[SAY hello]]", agent="codex")
        assert bearer(model) == "Bearer sk-of-the-user"
