"""Agents without a network, behind a real gateway: a way to their model, nothing else, nothing left after."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from clawdforge import Forge, ForgeAPIError, ForgeError, Session
from clawdforge.testing.fake_model import FakeModel
from harness import agents
from harness.gateway import Gateway, until

DOOR = "http://127.0.0.1:4180"
REFUSED = "Connection refused"


@pytest.fixture(scope="module")
def model(lasting_ports: set[int]) -> Iterator[FakeModel]:
    with FakeModel() as endpoint:
        lasting_ports.add(int(endpoint.url.rpartition(":")[2]))
        yield endpoint


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, model: FakeModel) -> Iterator[Gateway]:
    """Its agents have no network. One knows a model, one does not, some do not start."""
    asking = {"base_url": f"{model.url}/v1", "env": {"MODEL": "{base_url}"}}
    led = {
        "led": agents.scripted(**asking),
        "led-nowhere": agents.scripted(env={"MODEL": "{base_url}"}),
        "led-exit1": agents.scripted("--start-fault", "exit1", **asking),
        "led-hang": agents.scripted("--start-fault", "hang-initialize", **asking),
        "led-to-nothing": agents.scripted(base_url="http://127.0.0.1:9", env={"MODEL": "{base_url}"}),
    }
    settings = {"sandbox": "bwrap", "network": "none", "startup_timeout_secs": 3, "cancel_timeout_secs": 0.5}
    started = Gateway(tmp_path_factory.mktemp("gateway"), agents=led, settings=settings).start()
    yield started
    assert started.stop() == 0, started.log()
    started.close()


@pytest.fixture
def app(gateway: Gateway) -> Iterator[Forge]:
    with gateway.app(f"app-{os.urandom(4).hex()}", default_timeout_secs=30) as forge:
        forge.healthz()
        yield forge


@pytest.fixture
def holds_no_more(gateway: Gateway, app: Forge) -> Iterator[None]:
    """After the test the gateway holds what it held before: no relay, no door, no connection."""
    app.run("[[SAY warm]]", agent="led")  # what is made once
    gateway.settle()
    before = sockets(gateway)
    yield
    gateway.settle()
    until(lambda: len(sockets(gateway)) <= len(before), f"{sockets(gateway)} to be {before}")
    assert list((gateway.data_dir / "tmp").iterdir()) == []


def sockets(gateway: Gateway) -> list[str]:
    found = []
    for each in Path(f"/proc/{gateway.pid}/fd").iterdir():
        try:
            target = os.readlink(each)
        except FileNotFoundError:
            continue
        if target.startswith("socket:"):
            found.append(target)
    return found


def said(session: Session, command: str) -> str:
    """What a command of the agent's prints."""
    [call] = [each for each in session.turn(f"[[SH {command}]]").events if each["type"] == "tool_call"]
    return str(call["result"]["output"])


def asks(port: int, path: str = "/") -> str:
    """A command that asks for a path at a port of its loopback."""
    request = f"GET {path} HTTP/1.1\\r\\nHost: any\\r\\nConnection: close\\r\\n\\r\\n"
    return f"bash -c 'exec 3<>/dev/tcp/127.0.0.1/{port} && printf \"{request}\" >&3 && cat <&3' 2>&1"


@pytest.mark.usefixtures("holds_no_more")
def test_it_is_told_a_door_that_leads_to_its_model(app: Forge, model: FakeModel) -> None:
    with app.session("led", permissions="allow") as session:
        assert session.turn("[[ENV MODEL]]").text() == f"{DOOR}/v1"
        before = len(model.requests)
        assert "404 Not Found" in said(session, asks(4180, "/v1/unheard-of"))
        [request] = model.requests[before:]
    assert request.path == "/v1/unheard-of"
    assert request.headers["host"] == model.url.removeprefix("http://")


@pytest.mark.usefixtures("holds_no_more")
def test_it_reaches_nothing_else(app: Forge, gateway: Gateway, model: FakeModel) -> None:
    with app.session("led", permissions="allow") as session:
        for url in (model.url, gateway.url):
            assert REFUSED in said(session, asks(int(url.rpartition(":")[2])))


@pytest.mark.usefixtures("holds_no_more")
def test_an_endpoint_that_is_not_there_is_told_by_the_gateway(app: Forge) -> None:
    with app.session("led-to-nothing", permissions="allow") as session:
        answer = said(session, asks(4180))
    assert "502" in answer
    assert "the gateway cannot reach 127.0.0.1:9" in answer


@pytest.mark.usefixtures("holds_no_more")
def test_an_agent_of_which_nobody_knows_the_model_starts_and_has_no_way_out(app: Forge) -> None:
    with app.session("led-nowhere", permissions="allow") as session:
        assert session.turn("[[ENV MODEL]]").text() == "{base_url}"
        assert REFUSED in said(session, asks(4180))
    rows = {row["name"]: row for row in app.agents()["agents"]}
    assert rows["led-nowhere"]["available"] is True


@pytest.mark.usefixtures("holds_no_more")
@pytest.mark.parametrize("agent", ["led-exit1", "led-hang"])
def test_the_way_of_one_that_does_not_start_is_gone(app: Forge, agent: str) -> None:
    with pytest.raises(ForgeAPIError):
        app.create_session(agent)


@pytest.mark.usefixtures("holds_no_more")
def test_the_way_of_one_that_crashes_is_gone_and_the_next_has_its_own(app: Forge) -> None:
    with app.session("led", permissions="allow") as session:
        with pytest.raises(ForgeAPIError):
            session.turn("[[KILL9]]")
        assert "404 Not Found" in said(session, asks(4180, "/v1/again"))


@pytest.mark.usefixtures("holds_no_more")
def test_a_session_that_is_closed_while_its_model_is_asked_hangs_up(app: Forge, model: FakeModel) -> None:
    with ThreadPoolExecutor(1) as threads, app.session("led", permissions="allow") as session:
        ask_for_ever(session)
        before = len(model.turns)
        turn = threads.submit(session.turn, f"[[SH {ASKED}]]")
        model.wait_for(lambda _: len(model.turns) > before, 30)
        session.close()
        assert turn.result().stop_reason == "cancelled"
        model.wait_for(lambda _: model.turns[-1] in model.hung_up, 30)
    app.close()  # the second connection, which the turn has had


def test_a_gateway_that_ends_while_a_model_is_asked_hangs_up(
    tmp_path: Path, model: FakeModel, new_gateway: Callable[..., Gateway]
) -> None:
    led = {"led": agents.scripted(base_url=model.url)}
    settings = {"sandbox": "bwrap", "network": "none", "drain_timeout_secs": 0}
    gateway = new_gateway(agents=led, settings=settings).start()
    with ThreadPoolExecutor(1) as threads, gateway.app() as app:
        session = app.create_session("led", permissions="allow")
        ask_for_ever(session)
        before = len(model.turns)
        turn = threads.submit(session.turn, f"[[SH {ASKED}]]")
        model.wait_for(lambda _: len(model.turns) > before, 30)
        assert gateway.stop() == 0
        with pytest.raises(ForgeError):
            turn.result()
    model.wait_for(lambda _: model.turns[-1] in model.hung_up, 30)
    assert "Traceback" not in gateway.log()


ASKED = "bash -c 'exec 3<>/dev/tcp/127.0.0.1/4180 && cat asked >&3 && cat <&3'"


def ask_for_ever(session: Session) -> None:
    """Lays what `ASKED` sends: a request that the model leaves without an answer."""
    asked = {"model": "m", "tools": [{"name": "t"}], "messages": [{"role": "user", "content": "[[HANG 60]]"}]}
    body = json.dumps(asked)
    head = f"POST /v1/messages HTTP/1.1\r\nHost: any\r\nContent-Length: {len(body)}\r\n\r\n"
    (Path(session.cwd) / "asked").write_text(head + body, newline="")
