"""`GET /agents`: what can be chosen, and what an agent itself offers once it has been started."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clawdforge import Forge
from clawdforge.testing import fake_agent
from harness.gateway import Gateway
from harness.http import ask
from harness.shapes import STR_OR_NULL, fits

ENTRY = {"argv": fake_agent.argv(), "ask_mode": "ask", "inherit_env": ["SOME_API_KEY"]}


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Forge]:
    """An app of a gateway on which no agent has been started."""
    gateway = Gateway(tmp_path, agents={"mine": ENTRY, "other": ENTRY}).start()
    with gateway.app() as forge:
        yield forge
    gateway.close()


def told(app: Forge, name: str) -> dict[str, Any]:
    """What the list tells of an agent, which is what it tells by itself."""
    [row] = [row for row in app.agents()["agents"] if row["name"] == name]
    assert ask(app, "GET", f"/agents/{name}").body == {**row, "ok": True}
    return dict(row)


def test_what_an_agent_offers_is_told_once_it_has_been_started(app: Forge) -> None:
    before = told(app, "mine")
    assert (before["modes"], before["models"], before["capabilities"]["images"]) == (None, None, None)
    with app.session("mine"):
        after = told(app, "mine")
    assert after["modes"] == ["ask", "auto"]
    assert after["models"] == ["default", "fake-small", "fake-large"]
    assert after["capabilities"]["images"] is False
    assert told(app, "mine") == after, "also when it has ended"
    assert told(app, "other")["modes"] is None


def test_every_agent_says_what_can_be_chosen(app: Forge) -> None:
    for row in app.agents()["agents"]:
        fits(row, {"name": str, "title": str, "available": bool, "reason": STR_OR_NULL, "version": STR_OR_NULL})
        fits(row, {"login": STR_OR_NULL, "capabilities": dict, "tested": type(None)})
        can = row["capabilities"]
        fits(can, {"model": bool, "system_modes": list, "efforts": list, "ask_mode": STR_OR_NULL, "lacks": dict})
        assert can["model"] is ("model" not in can["lacks"])
        assert bool(can["efforts"]) is ("effort" not in can["lacks"])
        assert ("replace" in can["system_modes"]) is ("system_replace" not in can["lacks"])
    mine = told(app, "mine")
    assert mine["login"] == "set SOME_API_KEY in the gateway's environment"
    assert mine["capabilities"]["ask_mode"] == "ask"


def test_an_agent_that_nobody_knows_is_not_found(app: Forge) -> None:
    assert ask(app, "GET", "/agents/nobody").problem() == (404, "not_found")
