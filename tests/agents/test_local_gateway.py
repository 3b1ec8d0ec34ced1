"""The embedded agent behind a real gateway, through the SDK; what its model says is not judged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from clawdforge import Forge, ForgeAPIError
from harness.gateway import Gateway
from harness.ledger import Ledger

PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {"name": {"enum": ["Ada", "Grace"]}, "old": {"type": "boolean"}},
    "required": ["name", "old"],
    "additionalProperties": False,
}
# Far more than the model can write in the seconds that it gets.
HUNDRED = {"type": "array", "items": {"type": "integer"}, "minItems": 100}
ENDLESS = {"type": "array", "items": HUNDRED, "minItems": 100}


@pytest.fixture(scope="module")
def gateway(model_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that has the weights where `clawdforge agents install local` puts them."""
    started = Gateway(tmp_path_factory.mktemp("gateway"), settings={"cancel_timeout_secs": 10})
    models = started.data_dir / "models"
    models.mkdir(parents=True)
    (models / model_weights.name).symlink_to(model_weights)
    started.start()
    yield started
    assert started.stop() == 0, started.log()
    started.close()


@pytest.fixture(scope="module")
def app(gateway: Gateway) -> Iterator[Forge]:
    with gateway.app() as forge:
        forge.healthz()  # its connection is open before a test looks
        yield forge


def test_it_is_available(app: Forge) -> None:
    local = next(each for each in app.agents()["agents"] if each["name"] == "local")
    assert (local["available"], local["reason"]) == (True, None)


def test_a_run_with_a_schema_fits_it(app: Forge, gateway: Gateway) -> None:
    run = app.run("Name a scientist.", agent="local", schema=PERSON)
    assert (run.ok, run.stop_reason, run.schema_valid, run.schema_errors) == (True, "end_turn", True, [])
    jsonschema_rs.validate(PERSON, run.result)
    gateway.settle()


def test_a_file_that_is_called_like_a_module_is_a_file(app: Forge, gateway: Gateway, tmp_path: Path) -> None:
    trap = tmp_path / "argparse.py"
    trap.write_text("raise SystemExit('this has run')\n")
    run = app.run("Say hello.", agent="local", files=[app.upload_file(trap)], schema={"enum": ["hello"]})
    assert run.result == "hello"
    gateway.settle()


def test_a_session_of_two_turns(app: Forge, gateway: Gateway) -> None:
    with app.session(agent="local") as session:
        first = session.turn("Say hello.", schema={"enum": ["hello"]})
        second = session.turn("Say goodbye.", schema={"enum": ["goodbye"]})
    assert [each.turn_index for each in (first, second)] == [1, 2]
    assert [each.result for each in (first, second)] == ["hello", "goodbye"]
    assert first.usage is not None
    assert second.usage is not None
    gateway.settle()


def test_a_turn_that_is_cut_off_in_mid_generation_and_the_next_one(app: Forge, gateway: Gateway) -> None:
    with app.session(agent="local") as session:
        session.turn("Say hello.", schema={"enum": ["hello"]})  # its model is loaded and warm
        with pytest.raises(ForgeAPIError) as cut_off:
            session.turn("Count.", schema=ENDLESS, timeout_secs=3)
        assert (cut_off.value.status_code, cut_off.value.code) == (504, "timeout")
        stored = Ledger(gateway.data_dir).events(session.session_id)
        assert [each for each in stored if (each["type"], each["turn_index"]) == ("text", 2)], (
            "it was generating when it was cut off"
        )
        assert session.turn("Go on.", schema={"enum": ["done"]}).result == "done"
    gateway.settle()
