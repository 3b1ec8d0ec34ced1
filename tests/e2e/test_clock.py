"""The machine's clock jumps by a day, forward or back: no deadline, order or session depends on it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from clawdforge import Forge
from harness.agents import NewGateway
from harness.gateway import Gateway, until
from harness.http import ask
from harness.ledger import Ledger
from harness.prompts import DETACHED, post, record
from harness.streams import Stream
from harness.tenants import tenant

DAY_S = 86_400
JUMPS = pytest.mark.parametrize("jump_s", [DAY_S, -DAY_S], ids=["forward", "back"])

# What the gateway's Python reads as it starts: its wall clock is off by as many seconds as a file says.
SHIFTED = """
import os, time
_file, _time, _time_ns = os.environ["SHIFTED_BY"], time.time, time.time_ns
def _shift():
    with open(_file) as file:
        return int(file.read())
time.time = lambda: _time() + _shift()
time.time_ns = lambda: _time_ns() + _shift() * 10**9
"""


class Clock:
    """The wall clock of gateways."""

    def __init__(self, root: Path) -> None:
        self._file = root / "shifted-by"
        self.jump(0)
        (root / "sitecustomize.py").write_text(SHIFTED)
        paths = [str(root), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.env = {"PYTHONPATH": os.pathsep.join(paths), "SHIFTED_BY": str(self._file)}

    def jump(self, seconds: int) -> None:
        new = self._file.with_suffix(".new")
        new.write_text(str(seconds))
        new.replace(self._file)


@pytest.fixture(scope="module")
def shared_clock(tmp_path_factory: pytest.TempPathFactory) -> Clock:
    return Clock(tmp_path_factory.mktemp("clock"))


@pytest.fixture
def clock(shared_clock: Clock) -> Clock:
    """It is right as a test begins."""
    shared_clock.jump(0)
    return shared_clock


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, shared_clock: Clock) -> Iterator[Gateway]:
    """One that no test ends."""
    settings = {"cancel_timeout_secs": 0.5}
    started = Gateway(tmp_path_factory.mktemp("gateway"), settings=settings, env=shared_clock.env).start()
    yield started
    assert started.stop() == 0, started.log()
    started.close()


@pytest.fixture
def app(gateway: Gateway, clock: Clock) -> Iterator[Forge]:
    with tenant(gateway) as app:
        yield app


def jumped(gateway: Gateway, app: Forge, clock: Clock, jump_s: int) -> None:
    """Has the clock jump, and makes sure that the gateway goes by it."""
    before = app.create_session(agent="fake")
    clock.jump(jump_s)
    after = app.create_session(agent="fake")
    assert abs(after.state()["created_at"] - before.state()["created_at"] - jump_s) < DAY_S // 2
    before.close()
    after.close()


@JUMPS
def test_a_turn_goes_on_and_takes_as_long_as_it_took(
    gateway: Gateway, app: Forge, clock: Clock, pool: ThreadPoolExecutor, jump_s: int
) -> None:
    session = app.create_session(agent="fake")
    body = {"prompt": f"[[SAY {session.session_id}]][[SLEEP 2]][[SAY  done]]", "timeout_secs": 60}
    asked = pool.submit(post, app, f"/sessions/{session.session_id}/turn", body)
    gateway.until_heard(session.session_id)
    jumped(gateway, app, clock, jump_s)
    found = asked.result()
    assert (found.status, found.body["stop_reason"]) == (200, "end_turn")
    assert 0 <= found.body["duration_ms"] < DAY_S * 1000 // 2
    assert session.turn("next").text() == "turn 2: next"


@pytest.mark.guarantee
@JUMPS
@pytest.mark.parametrize("phase", ["idle", "total"])
def test_a_deadline_comes_when_it_is_due(
    gateway: Gateway, app: Forge, clock: Clock, pool: ThreadPoolExecutor, jump_s: int, phase: str
) -> None:
    session = app.create_session(agent="fake")
    limit = {"idle_timeout_secs": 2} if phase == "idle" else {"timeout_secs": 2}
    body = {"prompt": f"[[SAY {session.session_id}]][[HANG]]", **limit}
    asked = pool.submit(post, app, f"/sessions/{session.session_id}/turn", body)
    gateway.until_heard(session.session_id)
    jumped(gateway, app, clock, jump_s)
    assert asked.result().problem() == (504, "timeout")
    assert asked.result().body["phase"] == phase


@pytest.mark.guarantee
@JUMPS
def test_a_stream_misses_nothing_and_stays_in_order(
    gateway: Gateway, app: Forge, clock: Clock, jump_s: int
) -> None:
    session = app.create_session(agent="fake")
    with Stream(app, session.session_id) as stream:
        session.turn("before")
        stream.until("turn_end")
        jumped(gateway, app, clock, jump_s)
        session.turn("after")
        told = stream.until("turn_end")
    log = Ledger(gateway.data_dir).events(session.session_id)
    assert [event["seq"] for event in told] == [row["seq"] for row in log if row["turn_index"] == 2]
    assert abs(log[-1]["ts"] - log[0]["ts"] - jump_s * 1000) < DAY_S * 1000 // 2


@pytest.mark.guarantee
def test_an_open_session_is_not_old_by_it(new_gateway: NewGateway, clock: Clock) -> None:
    gateway = new_gateway(env=clock.env, settings={"reap_interval_secs": 0.05}).start()
    with tenant(gateway) as app:
        session, closed = app.create_session(agent="fake"), app.create_session(agent="fake")
        session.turn("one")
        closed.close()
        clock.jump(2 * DAY_S)
        where = f"/sessions/{closed.session_id}"
        until(lambda: ask(app, "GET", where).status == 404, "what was closed long ago to be removed")
        assert session.state()["live"] is True
        assert session.turn("two").text() == "turn 2: two"
    assert gateway.stop() == 0


@pytest.mark.guarantee
@JUMPS
def test_a_gateway_that_comes_back_at_another_time_goes_on(
    new_gateway: NewGateway, clock: Clock, jump_s: int
) -> None:
    gateway = new_gateway(env=clock.env).start()
    app = gateway.app()
    session = app.create_session(agent="fake")
    session.turn("one")
    found = post(app, f"/sessions/{session.session_id}/turn", {"prompt": "[[SAY begun]][[HANG]]"}, DETACHED)
    assert found.status == 202
    gateway.until_heard("begun")
    gateway.kill()
    app.close()
    clock.jump(jump_s)
    gateway.start()
    with Forge(base_url=gateway.url, token=app._config.token) as later:
        told = record(later, session.session_id, 2)
        assert (told["status"], told["stop_reason"]) == ("failed", "interrupted")
        assert 0 <= told["duration_ms"] < DAY_S * 1000 // 2
        again = later.attach_session(session.session_id)
        assert again.state()["live"] is True
        assert again.turn("three").turn_index == 3
        again.close()
    log = Ledger(gateway.data_dir).events(session.session_id)
    assert [event["seq"] for event in log] == list(range(1, len(log) + 1))
