"""The frozen surface of runs: results, schemas, and what a run leaves behind."""

from __future__ import annotations

from typing import Any

import pytest

from clawdforge import Forge
from harness.gateway import Gateway
from harness.http import ask
from harness.ledger import Ledger
from harness.shapes import fits

RUN = {"ok": bool, "duration_ms": int, "stop_reason": str}
PERSON = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}


def test_a_run_tells_what_the_contract_says(app: Forge) -> None:
    answer = ask(app, "POST", "/run", {"prompt": "hello", "agent": "fake"})
    assert answer.status == 200
    fits(answer.body, RUN)
    assert (answer.body["ok"], answer.body["result"]) == (True, "turn 1: hello")
    assert answer.body["stop_reason"] == "end_turn"
    assert answer.body["duration_ms"] >= 0


@pytest.mark.parametrize(
    ("prompt", "result"),
    [
        ('[[SAY {"a": [1, 2.5, null, "é"]}]]', {"a": [1, 2.5, None, "é"]}),
        ('[[JSON {"fenced": true}]]', {"fenced": True}),
        ("[[SAY plain words]]", "plain words"),
        ("[[SAY  42 ]]", 42),
        ('[[SAY "quoted"]]', "quoted"),
        ("[[SAY {broken]]", "{broken"),
        ("[[SAY NaN]]", "NaN"),
        ('[[SAY first I look]][[TOOL t {}]][[SAY {"n": 1}]]', {"n": 1}),
    ],
    ids=["JSON", "fenced", "text", "number", "string", "broken", "NaN", "text after the last tool"],
)
def test_the_result_is_the_final_text_parsed_where_it_is_json(app: Forge, prompt: str, result: Any) -> None:
    assert app.run(prompt, agent="fake").result == result


def test_a_result_that_fits_its_schema_is_said_to(app: Forge) -> None:
    run = app.run('[[JSON {"name": "Ada"}]]', agent="fake", schema=PERSON)
    assert (run.result, run.schema_valid, run.schema_errors) == ({"name": "Ada"}, True, [])


@pytest.mark.parametrize("said", ['[[JSON {"name": 7}]]', "[[SAY no JSON at all]]", "[[JSON []]]"])
def test_a_result_that_does_not_fit_its_schema_is_told_with_the_reasons(app: Forge, said: str) -> None:
    run = app.run(said, agent="fake", schema=PERSON)
    assert run.ok is True
    assert run.schema_valid is False
    assert run.schema_errors
    assert all(isinstance(each, str) for each in run.schema_errors)


def test_without_a_schema_nothing_is_judged(app: Forge) -> None:
    body = ask(app, "POST", "/run", {"prompt": "hi", "agent": "fake"}).body
    assert "schema_valid" not in body
    assert "schema_errors" not in body


@pytest.mark.parametrize(
    "schema",
    [{"type": 7}, {"type": "nonsense"}, {"$ref": "http://127.0.0.1:9/none.json"}, {"pattern": "("}],
    ids=["type 7", "unknown type", "a reference elsewhere", "a broken pattern"],
)
def test_an_unusable_schema_is_refused_before_anything_runs(
    app: Forge, gateway: Gateway, schema: dict[str, Any]
) -> None:
    answer = ask(app, "POST", "/run", {"prompt": f"never told {id(schema)}", "agent": "fake", "schema": schema})
    assert answer.problem() == (422, "invalid")
    assert answer.body["errors"][0]["loc"][0] == "schema"
    assert gateway.heard(f"never told {id(schema)}") == 0


def test_a_turn_is_judged_too(app: Forge) -> None:
    session = app.create_session(agent="fake")
    assert session.turn('[[JSON {"name": "Bo"}]]', schema=PERSON).schema_valid is True
    assert session.turn("no schema").schema_valid is None


def test_the_tokens_of_a_turn_are_told_where_the_agent_tells_them(app: Forge) -> None:
    run = app.run("[[SAY x]][[USAGE]]", agent="fake")
    assert run.usage is not None
    assert (run.usage["input_tokens"], run.usage["output_tokens"]) == (100, 20)


@pytest.mark.parametrize(
    ("agent", "expected"), [("nobody", (422, "invalid")), ("absent", (503, "agent_unavailable"))]
)
def test_a_run_of_an_agent_that_is_not_there_leaves_nothing(
    app: Forge, db: Ledger, agent: str, expected: tuple[int, str]
) -> None:
    before = len(db.rows("SELECT 1 FROM sessions"))
    assert ask(app, "POST", "/run", {"prompt": "hi", "agent": agent}).problem() == expected
    assert len(db.rows("SELECT 1 FROM sessions")) == before


def test_a_run_is_kept_as_a_closed_session_of_one_turn(app: Forge, db: Ledger) -> None:
    run = app.run("[[SAY done]]", agent="fake")
    [row] = db.rows("SELECT * FROM sessions WHERE session_id = ?", run.session_id)
    assert (row["kind"], row["turn_count"], row["close_reason"]) == ("run", 1, "run")
    assert row["closed_at"] is not None
    types = [event["type"] for event in db.events(run.session_id)]
    assert types == ["turn_start", "agent_start", "text", "turn_end", "session_closed"]


def test_runs_do_not_count_as_open_sessions(app: Forge) -> None:
    before = app.healthz()["open_sessions"]
    app.run("hi", agent="fake")
    assert app.healthz()["open_sessions"] == before
    session = app.create_session(agent="fake")
    assert app.healthz()["open_sessions"] == before + 1
    session.close()
    assert app.healthz()["open_sessions"] == before


@pytest.mark.parametrize(
    "body",
    [
        {"prompt": "x", "agent": 7},
        {"prompt": "x", "timeout_secs": "12"},
        {"prompt": "x", "timeout_secs": True},
        {"prompt": "x", "timeout_secs": 0},
        {"prompt": "x", "timeout_secs": 86_401},
        {"prompt": "x", "effort": "huge"},
        {"prompt": "x", "system_mode": "replace"},
        {"prompt": "x", "permissions": "everything"},
        {"prompt": "x", "meta": {}},
        {"agent": "fake"},
        [],
    ],
    ids=lambda body: str(body)[:40],
)
def test_a_run_takes_no_value_of_a_wrong_type_or_name(app: Forge, body: Any) -> None:
    if isinstance(body, dict):
        body = {"agent": "fake", **body}
    answer = ask(app, "POST", "/run", body)
    assert answer.problem() in ((422, "invalid"), (400, "bad_request"))
