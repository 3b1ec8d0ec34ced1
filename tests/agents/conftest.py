"""Real agents as shipped in the catalog, behind a real gateway, talking to a scripted model.

One endpoint and one gateway a worker: claude by the environment of the gateway, the others as their entries say.
The user of the gateway has a home of his own with settings that would betray themselves if an agent took them up.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from clawdforge import Forge, Session
from clawdforge.testing.fake_model import FakeModel
from clawdforge.testing.stories import Stage
from harness.gateway import Gateway, until
from harness.real_agents import API_KEY, gateway_of


@pytest.fixture(scope="session")
def model(lasting_ports: set[int]) -> Iterator[FakeModel]:
    with FakeModel() as endpoint:
        # A sub-agent may open a connection of its own, in mid test, and its session keeps it.
        lasting_ports.add(int(endpoint.url.rpartition(":")[2]))
        yield endpoint


@pytest.fixture(scope="session")
def user_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of the user who runs the gateway. Its settings are his alone: no agent takes or touches them."""
    home = tmp_path_factory.mktemp("user")
    settings = {"env": {"ANTHROPIC_MODEL": "claude-of-the-user"}, "permissions": {"allow": ["Bash", "Write"]}}
    (home / ".claude").mkdir()
    (home / ".claude" / "settings.json").write_text(json.dumps(settings))
    return home


@pytest.fixture(scope="session")
def gateway(
    tmp_path_factory: pytest.TempPathFactory,
    node_agents: Path,
    model: FakeModel,
    user_home: Path,
    lasting_ports: set[int],
) -> Iterator[Gateway]:
    """A gateway that no test ends (see `real_agents`)."""
    before = snapshot(user_home)
    shared = gateway_of(tmp_path_factory.mktemp("gateway"), node_agents, model, user_home).start()
    # Apps that outlive a test keep as many connections as a test of theirs has needed at once.
    lasting_ports.add(int(shared.url.rpartition(":")[2]))
    yield shared
    assert shared.stop() == 0, shared.log()
    shared.close()
    assert API_KEY not in shared.log()
    assert snapshot(user_home) == before


@pytest.fixture(scope="session")
def stage(
    request: pytest.FixtureRequest,
    gateway: Gateway,
    model: FakeModel,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stage]:
    """Where the agent of the test's parameter plays its stories."""
    with gateway.app(f"stories-{request.param}", default_timeout_secs=60) as forge:
        opened = Stage(forge, model, request.param, tmp_path_factory.mktemp("outside"))
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def app(gateway: Gateway) -> Iterator[Forge]:
    """A new app of the gateway, which a module's stories share."""
    with gateway.app(f"app-{uuid.uuid4().hex}", default_timeout_secs=60) as forge:
        yield forge


@pytest.fixture(scope="module")
def session(app: Forge) -> Iterator[Session]:
    """A session with everything left to the gateway, which a module's stories share."""
    with app.session() as opened:
        opened.turn("[[SAY I am here]]")  # its connection to the model is open before a test looks
        yield opened


@pytest.fixture
def tree(gateway: Gateway) -> Callable[[Session], list[psutil.Process]]:
    """Every process that runs for a session of the gateway, the adapter first."""

    def of(session: Session) -> list[psutil.Process]:
        found = [each for each in children_of(gateway) if mark_of(each).endswith(f":{session.session_id}")]
        return found + [each for leader in found for each in leader.children(recursive=True)]

    return of


@pytest.fixture
def lose_agent(tree: Callable[[Session], list[psutil.Process]]) -> Callable[[Session], None]:
    """Kills a session's agent between two turns. True after: the gateway has seen its end, and reaped it."""

    def lose(session: Session) -> None:
        adapter = tree(session)[0]
        adapter.kill()
        until(lambda: not psutil.pid_exists(adapter.pid), "the gateway to notice that the agent is gone")

    return lose


def children_of(gateway: Gateway) -> list[psutil.Process]:
    return psutil.Process(gateway.pid).children()


def mark_of(process: psutil.Process) -> str:
    try:
        return process.environ().get("CLAWDFORGE_CHILD", "")
    except psutil.Error:
        return ""


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    """What the files below a folder hold, and when they were changed."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}
