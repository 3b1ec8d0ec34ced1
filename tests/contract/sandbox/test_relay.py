"""A session without network still reaches its model, and nothing else."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from clawdforge.server.sandbox import doorway
from clawdforge.server.sandbox.relay import Relay
from clawdforge.testing.fake_model import FakeModel
from contract.sandbox.conftest import INTRUDER, LEGS, Stand, python
from harness import intruder

PORT = 4180
THERE = "/run/model"
WALLS = pytest.mark.parametrize("stand", [leg for leg in LEGS if leg.startswith("bwrap")], indirect=True)


async def through(stand: Stand, base_url: str, verb: str, *arguments: str) -> dict[str, object]:
    """What an intruder without network gets while a relay to that endpoint is open."""
    path = stand.place / "model"
    async with Relay(path, base_url, stand.agent_uid):
        space = stand.space(
            f"own-{verb}-{arguments[0].partition(':')[0]}",
            network="none",
            sockets={THERE: path},
            programs=(Path(INTRUDER), Path(doorway.__file__)),
        )
        door = (python(), "-I", "-S", doorway.__file__, str(PORT), THERE, "--")
        started, _ = stand.start(space, (*door, python(), "-I", INTRUDER, verb, *arguments))
        with started:
            out, err = await asyncio.to_thread(started.communicate, timeout=60)
    assert started.returncode == 0, err
    answer: dict[str, object] = json.loads(out)
    return answer


@WALLS
async def test_the_model_is_reached(stand: Stand) -> None:
    with FakeModel() as model:
        got = await through(stand, model.url, intruder.ask_model.__name__, str(PORT), "[[SAY hello]]")
        assert got["got"] == {"status": 200, "text": "hello"}
        assert [request.headers["host"] for request in model.requests] == [model.url.removeprefix("http://")]


@WALLS
async def test_nothing_else_is_reached(stand: Stand) -> None:
    with FakeModel() as model, FakeModel() as other:
        port = other.url.rpartition(":")[2]
        assert "refused" in await through(stand, model.url, intruder.connect_tcp.__name__, port)


@WALLS
async def test_an_endpoint_that_is_not_there_is_a_bad_gateway(stand: Stand) -> None:
    got = await through(stand, "http://127.0.0.1:9", intruder.ask_model.__name__, str(PORT), "hello")
    assert got["got"] == {"status": 502, "text": ""}


@WALLS
async def test_once_the_door_is_given_no_other_is_taken(stand: Stand) -> None:
    with FakeModel() as model:
        assert "refused" in await through(stand, model.url, intruder.connect_file.__name__, THERE)
    assert not os.path.exists(stand.place / "model")
