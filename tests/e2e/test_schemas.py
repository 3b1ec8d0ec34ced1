"""A session's schema: the one that its turns' results are judged by."""

from __future__ import annotations

from typing import Any

from clawdforge import Forge
from harness import prompts
from harness.agents import NewGateway
from harness.gateway import Gateway
from harness.http import ask
from harness.ledger import Ledger

PERSON = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
CITY = {"type": "object", "required": ["city"]}
ADA = '[[JSON {"name": "Ada"}]]'


def opened(app: Forge, **body: Any) -> str:
    """A session of the scripted agent."""
    found = ask(app, "POST", "/sessions", {"agent": "fake", **body})
    assert found.status == 200, found.raw
    return str(found.body["session_id"])


def test_a_session_s_schema_is_that_of_its_turns_and_a_turn_s_own_comes_first(app: Forge) -> None:
    session_id = opened(app, schema=PERSON)
    told = prompts.turn(app, session_id, ADA).body
    assert (told["result"], told["schema_valid"]) == ({"name": "Ada"}, True)
    assert prompts.turn(app, session_id, ADA, schema=CITY).body["schema_valid"] is False
    assert prompts.turn(app, session_id, ADA, schema={}).body["schema_valid"] is True
    assert prompts.turn(app, session_id, ADA, schema=None).body["schema_valid"] is True


def test_a_session_with_an_unusable_schema_is_refused_and_never_was(
    app: Forge, gateway: Gateway, db: Ledger
) -> None:
    before = len(db.rows("SELECT * FROM sessions"))
    for schema in ({"type": 7}, {"$ref": "https://example.org/other"}, {"pattern": "("}):
        found = ask(app, "POST", "/sessions", {"agent": "fake", "schema": schema})
        assert found.problem() == (422, "invalid")
        assert found.body["errors"][0]["loc"] == ["schema"]
    assert len(db.rows("SELECT * FROM sessions")) == before


def test_a_fork_and_a_later_life_of_the_gateway_know_the_schema(new_gateway: NewGateway) -> None:
    gateway = new_gateway().start()
    with gateway.app() as app:
        session_id = opened(app, schema=PERSON)
        forked = ask(app, "POST", f"/sessions/{session_id}/fork").body["session_id"]
        assert prompts.turn(app, forked, "[[SAY no]]").body["schema_valid"] is False
        token = app._config.token
    gateway.kill()
    gateway.start()
    with Forge(base_url=gateway.url, token=token) as later:
        for each in (session_id, forked):
            assert prompts.turn(later, each, ADA).body["schema_valid"] is True
