"""A session without network still reaches its model, and nothing else."""

from __future__ import annotations

import asyncio
import errno
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from clawdforge.server.sandbox import doorway
from clawdforge.server.sandbox.endpoint import DOOR_PORT, Endpoint
from clawdforge.server.sandbox.relay import PYTHON, Relay
from clawdforge.testing.fake_model import FakeModel
from contract.sandbox.conftest import LEGS, Stand, python

WALLS = pytest.mark.parametrize("stand", [leg for leg in LEGS if leg.startswith("bwrap")], indirect=True)


@pytest.fixture(autouse=True)
def doorway_for_all(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkout may lie where only its owner can read it: who builds a wall as another user shows a copy."""
    monkeypatch.setattr(doorway, "__file__", shutil.copy(str(doorway.__file__), place))


ASK = """
import http.client, json, sys
client = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=30)
for text in sys.argv[2:]:
    asked = {"model": "m", "tools": [{"name": "t"}], "messages": [{"role": "user", "content": text}]}
    client.request("POST", "/v1/messages", json.dumps(asked))
    answer = client.getresponse()
    print(json.dumps([answer.status, json.load(answer)]))
"""

KNOCK = """
import json, socket, sys
where, unix = sys.argv[1], sys.argv[1].startswith("/")
with socket.socket(socket.AF_UNIX if unix else socket.AF_INET) as knocking:
    knocking.settimeout(10)
    print(json.dumps(knocking.connect_ex(where if unix else ("127.0.0.1", int(where)))))
"""


async def through(stand: Stand, base_url: str, *command: str) -> list[Any]:
    """What a program without network prints, as JSON, while a relay to that endpoint is open."""
    path = stand.place / "model"
    relay = await Relay.open(Endpoint.at(base_url), path, stand.agent_uid)
    try:
        space = stand.space("own", network="none", programs=())
        argv, space = relay.through_door(
            (python(), "-I", *command), space, PYTHON if stand.spawn_as is None else [Path(python())]
        )
        started, _ = stand.start(space, argv)
        with started:
            out, err = await asyncio.to_thread(started.communicate, timeout=60)
    finally:
        await relay.close()
    assert started.returncode == 0, err
    return [json.loads(line) for line in out.splitlines()]


@WALLS
async def test_the_model_is_reached_by_its_own_name(stand: Stand) -> None:
    with FakeModel() as model:
        answers = await through(stand, model.url, "-c", ASK, str(DOOR_PORT), "[[SAY hello]]", "[[SAY again]]")
        said = [(status, body["content"][0]["text"]) for status, body in answers]
        assert said == [(200, "hello"), (200, "again")]
        assert {request.headers["host"] for request in model.requests} == {model.url.removeprefix("http://")}


@WALLS
async def test_nothing_else_is_reached(stand: Stand) -> None:
    with FakeModel() as model, FakeModel() as other:
        port = other.url.rpartition(":")[2]
        assert await through(stand, model.url, "-c", KNOCK, port) == [errno.ECONNREFUSED]


@WALLS
async def test_an_endpoint_that_is_not_there_is_told(stand: Stand) -> None:
    [[status, body]] = await through(stand, "http://127.0.0.1:9", "-c", ASK, str(DOOR_PORT), "hello")
    assert status == 502
    assert body["error"]["message"].startswith("the gateway cannot reach 127.0.0.1:9: ")


@WALLS
async def test_once_the_door_is_given_no_other_is_taken(stand: Stand) -> None:
    with FakeModel() as model:
        assert await through(stand, model.url, "-c", KNOCK, "/run/door") == [errno.ECONNREFUSED]
    assert not (stand.place / "model").exists()
