"""A real agent's network: with none it has a way to its model alone; with an open one it goes by itself."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from clawdforge import Forge
from clawdforge.testing.fake_model import FakeModel
from harness.gateway import Gateway


@pytest.fixture
def open_gateway(tmp_path: Path, node_agents: Path, model: FakeModel, user_home: Path) -> Iterator[Gateway]:
    """The same as the others' gateway, but for its network."""
    env = {
        "PATH": f"{node_agents}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(user_home),
        "ANTHROPIC_API_KEY": "sk-scripted-0123456789",
        "ANTHROPIC_BASE_URL": model.url,
    }
    started = Gateway(tmp_path, env=env, settings={"sandbox": "bwrap", "network": "open"}).start()
    yield started
    assert started.stop() == 0, started.log()
    started.close()


def test_with_no_network_a_command_reaches_nobody(app: Forge, model: FakeModel) -> None:
    assert knocks(app, model) == "refused\n"
    assert app.healthz()["sandbox"] == {"level": "bwrap", "network": "none"}


def test_with_an_open_network_it_finds_its_model_by_itself(open_gateway: Gateway, model: FakeModel) -> None:
    with open_gateway.app(default_timeout_secs=60) as app:
        assert app.run("[[SAY by myself]]").result == "by myself"
        assert knocks(app, model) == "reached\n"
        assert app.healthz()["sandbox"] == {"level": "bwrap", "network": "open"}


def test_with_no_network_it_is_led_to_its_vendor_or_where_the_settings_say(
    tmp_path: Path, node_agents: Path, model: FakeModel, user_home: Path
) -> None:
    """By the agents' own ways to their vendors: codex tries a WebSocket first, gemini takes its key to Vertex."""
    env = {
        "PATH": f"{node_agents}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(user_home),
        "CODEX_API_KEY": "sk-scripted-0123456789",
        "GOOGLE_API_KEY": "a-key-of-the-cloud",
        "GOOGLE_VERTEX_BASE_URL": model.url,
    }
    agents = {"codex": {"base_url": f"{model.url}/v1"}}
    gateway = Gateway(tmp_path, env=env, agents=agents, settings={"sandbox": "bwrap", "network": "none"}).start()
    with gateway.app(default_timeout_secs=60) as app:
        before = len(model.turns)
        assert app.run("[[SAY led]]", agent="codex").result == "led"
        assert app.run("[[SAY led]]", agent="gemini").result == "led"
    assert gateway.stop() == 0, gateway.log()
    gateway.close()
    codex, *_, gemini = model.turns[before:]
    assert codex.headers["authorization"] == "Bearer sk-scripted-0123456789"
    assert gemini.headers["x-goog-api-key"] == "a-key-of-the-cloud"
    assert "/publishers/google/" in gemini.path
    assert {each.headers["host"] for each in (codex, gemini)} == {model.url.removeprefix("http://")}


def knocks(app: Forge, model: FakeModel) -> str:
    """What becomes of a command's connection to the model's own port on this machine."""
    port = model.url.rpartition(":")[2]
    # Agents take the user's shell, and not every shell has such a path.
    knock = f"bash -c 'echo > /dev/tcp/127.0.0.1/{port}' 2> /dev/null"
    with app.session(permissions="allow") as session:
        session.turn(f"[[BASH {knock} && echo reached > it || echo refused > it]]")
        return (Path(session.cwd) / "it").read_text()
