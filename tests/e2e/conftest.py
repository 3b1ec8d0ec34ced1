"""Gateways for the end-to-end tests: one that all tests of a worker share, and ones that a test may end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from clawdforge import Forge
from clawdforge.client import _retry
from harness import agents
from harness.fault_proxy import FaultProxy, fault_proxy
from harness.gateway import Gateway
from harness.ledger import Ledger
from harness.tenants import tenant
from harness.waited import TWINS, forge_of


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that no test ends. Its tests mint an app each: `app`."""
    root = tmp_path_factory.mktemp("gateway")
    shared = Gateway(root, agents=agents.faulty(), settings={"cancel_timeout_secs": 0.5})
    shared.start()
    yield shared
    assert shared.stop() == 0, shared.log()
    shared.close()


@pytest.fixture(scope="session")
def strict_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with little patience for agents that start, and for the length of their lines."""
    root = tmp_path_factory.mktemp("strict")
    settings = {"startup_timeout_secs": 1.5, "cancel_timeout_secs": 0.5, "max_agent_line_bytes": 20_000}
    strict = Gateway(root, agents=agents.faulty(), settings=settings)
    strict.start()
    yield strict
    assert strict.stop() == 0, strict.log()
    strict.close()


@pytest.fixture(scope="session")
def tight_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with little room in its workspaces, one stream for each app, and two places in a queue.

    A stream that is quiet often says that it lives.
    """
    root = tmp_path_factory.mktemp("tight")
    limits = {"workspace_bytes": 4 * 1024 * 1024, "max_streams_per_app": 1, "max_queued_turns": 2}
    tight = Gateway(root, settings={"cancel_timeout_secs": 0.5, "heartbeat_secs": 0.1, **limits})
    tight.start()
    yield tight
    assert tight.stop() == 0, tight.log()
    tight.close()


@pytest.fixture
def app(gateway: Gateway) -> Iterator[Forge]:
    """A new app of the shared gateway; what it has left open is closed, and what it did obeys the laws."""
    with tenant(gateway) as forge:
        yield forge


@pytest.fixture
def strict_app(strict_gateway: Gateway) -> Iterator[Forge]:
    """A new app of the strict gateway."""
    with tenant(strict_gateway) as forge:
        yield forge


@pytest.fixture
def tight_app(tight_gateway: Gateway) -> Iterator[Forge]:
    """A new app of the tight gateway."""
    with tenant(tight_gateway) as forge:
        yield forge


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Threads for calls that wait."""
    with ThreadPoolExecutor(64) as threads:
        yield threads


@pytest.fixture
def db(gateway: Gateway) -> Ledger:
    """What the shared gateway has stored."""
    return Ledger(gateway.data_dir)


@pytest.fixture
def new_gateway(tmp_path: Path) -> Iterator[agents.NewGateway]:
    """Makes gateways (not started) that the test may do anything to; nothing of them is left after it."""
    made: list[Gateway] = []

    def make(name: str = "gateway", **options: Any) -> Gateway:
        root = tmp_path / name
        root.mkdir(exist_ok=True)
        options = {"settings": {}, **options}
        options["settings"] = {"cancel_timeout_secs": 0.5, **options["settings"]}
        made.append(Gateway(root, **{"agents": agents.faulty(), **options}))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def proxy(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """A way to the shared gateway that fails where it is told to; what fails is tried again at once."""
    monkeypatch.setattr(_retry, "FIRST_WAIT_S", 0)
    with fault_proxy(gateway.url) as between:
        yield between


@pytest.fixture(params=TWINS)
def twin(request: pytest.FixtureRequest) -> str:
    """Each of the SDK's two."""
    name: str = request.param
    return name


@pytest.fixture
def new_forge(app: Forge, proxy: FaultProxy, twin: str) -> Iterator[Callable[..., Forge]]:
    """Makes a twin's Forges for the app, by way of the proxy."""
    with ExitStack() as made:
        yield lambda **options: made.enter_context(
            forge_of(twin, base_url=proxy.url, token=app._config.token, **options)
        )


@pytest.fixture
def forge(new_forge: Callable[..., Forge]) -> Forge:
    """The app in a twin's hands, by way of the proxy."""
    return new_forge()
