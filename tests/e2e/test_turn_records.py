"""The records of turns: `/sessions/{id}/turns` and `/turns/{n}`, of sessions and runs, of any end."""

from __future__ import annotations

import json
import uuid
from typing import Any
from urllib.parse import quote

import pytest

from clawdforge import Forge
from harness import prompts
from harness.agents import NewGateway
from harness.gateway import Gateway
from harness.http import ask, call
from harness.prompts import accepted, ended, record, turn_later

Row = dict[str, Any]
KNOWN_BY_THE_END = ("ok", "stop_reason", "duration_ms", "error", "usage", "model")


@pytest.fixture
def session_id(app: Forge) -> str:
    return app.create_session(agent="fake").session_id


def turns(app: Forge, session_id: str, query: str = "") -> Row:
    answer = ask(app, "GET", f"/sessions/{session_id}/turns{query}")
    assert answer.status == 200, answer.raw
    body: Row = answer.body
    return body


@pytest.mark.guarantee
def test_a_record_tells_what_the_answer_told(app: Forge, session_id: str) -> None:
    answer = prompts.turn(app, session_id, "[[THINK hm]] [[TOOL look {}]] [[SAY hi]]").body
    told = record(app, session_id, 1)
    assert told["status"] == "done"
    assert told["error"] is None
    assert isinstance(told["started_at"], int)
    assert {name: told[name] for name in answer} == answer
    assert "extra" not in told


@pytest.mark.guarantee
def test_a_failed_one_tells_what_its_error_told(app: Forge, session_id: str) -> None:
    error = prompts.turn(app, session_id, "[[SAY so far]] [[STDERR 100]] [[EXIT 7]]").body
    told = record(app, session_id, 1)
    assert (told["status"], told["stop_reason"], told["ok"]) == ("failed", "agent_failed", False)
    assert told["error"] == {"code": error["code"], "detail": error["detail"]}
    assert told["extra"] == {name: error[name] for name in ("exit_code", "stderr_tail")}
    assert told["usage"] == error["usage"]
    assert prompts.text(told["events"]) == "so far"


def test_a_result_that_was_judged_by_a_schema_stays_judged(app: Forge, session_id: str) -> None:
    schema = {"type": "object", "required": ["b"]}
    answer = prompts.turn(app, session_id, '[[JSON {"a": 1}]]', schema=schema).body
    assert answer["schema_valid"] is False
    told = record(app, session_id, 1)
    for name in ("result", "schema_valid", "schema_errors"):
        assert told[name] == answer[name]


def test_a_running_one_tells_what_is_there(app: Forge, session_id: str) -> None:
    accepted(turn_later(app, session_id, "[[SAY a]] [[HANG]]"))
    told = record(app, session_id, 1)
    assert (told["status"], told["session_id"], told["turn_index"]) == ("running", session_id, 1)
    assert all(told[name] is None for name in KNOWN_BY_THE_END)
    assert turns(app, session_id)["turns"][0] == {name: told[name] for name in turns(app, session_id)["turns"][0]}
    app.attach_session(session_id).close()
    assert record(app, session_id, 1)["stop_reason"] == "cancelled"


def test_the_list_is_newest_first_and_has_pages(app: Forge, session_id: str) -> None:
    for number in range(5):
        prompts.turn(app, session_id, f"[[SAY {number}]]")
    whole = turns(app, session_id)
    assert [row["turn_index"] for row in whole["turns"]] == [5, 4, 3, 2, 1]
    assert (whole["count"], whole["next_cursor"]) == (5, None)
    assert all("events" not in row for row in whole["turns"])
    seen, cursor = [], ""
    while cursor is not None:
        part = turns(app, session_id, f"?limit=2{cursor and f'&cursor={cursor}'}")
        seen += part["turns"]
        cursor = part["next_cursor"]
    assert seen == whole["turns"]
    assert turns(app, session_id, "?cursor=1")["turns"] == []


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=201", "limit=x", "cursor=0", "cursor=-1", "cursor=x", f"cursor={10**30}", "what=1"]
)
def test_what_no_list_has_is_refused(app: Forge, session_id: str, query: str) -> None:
    assert ask(app, "GET", f"/sessions/{session_id}/turns?{query}").problem() == (422, "invalid")


@pytest.mark.parametrize("index", ["0", "2", "-1", "01x", "x", "1.0", str(10**18), str(10**30), "%31%00", "١"])
def test_a_turn_that_never_was_is_not_found(app: Forge, session_id: str, index: str) -> None:
    prompts.turn(app, session_id, "hi")
    path = f"/sessions/{session_id}/turns/{quote(index, safe='%')}"
    assert ask(app, "GET", path).problem() == (404, "not_found")


def test_another_app_s_turns_are_no_turns(app: Forge, gateway: Gateway, session_id: str) -> None:
    prompts.turn(app, session_id, "hi")
    with gateway.app(f"stranger-{uuid.uuid4().hex}") as stranger:
        for path in (f"/sessions/{session_id}/turns", f"/sessions/{session_id}/turns/1"):
            strange = ask(stranger, "GET", path)
            nowhere = ask(stranger, "GET", path.replace(session_id, "sess_" + "0" * 32))
            assert strange.problem() == (404, "not_found")
            assert strange.body["detail"] == nowhere.body["detail"] == "session not found"


def test_the_records_of_a_run_and_of_a_closed_session_stay(app: Forge, session_id: str) -> None:
    prompts.turn(app, session_id, "hi")
    app.attach_session(session_id).close()
    assert turns(app, session_id)["turns"][0]["status"] == "done"
    run_id = prompts.run(app, '[[JSON {"a": 1}]]').body["run_id"]
    assert turns(app, run_id)["count"] == 1
    assert record(app, run_id, 1)["stop_reason"] == "end_turn"


@pytest.mark.guarantee
def test_records_outlive_the_gateway(new_gateway: NewGateway) -> None:
    gateway = new_gateway().start()
    with gateway.app() as app:
        token = app._config.token
        session_id = app.create_session(agent="fake").session_id
        prompts.turn(app, session_id, "[[SAY a]] [[USAGE]]")
        prompts.turn(app, session_id, "[[EXIT 1]]")
        accepted(turn_later(app, session_id, "[[SAY begun]] [[HANG]]"))
        gateway.until_heard("begun")
        before = [record(app, session_id, index) for index in (1, 2)]
        gateway.kill()
    gateway.start()
    with Forge(base_url=gateway.url, token=token) as app:
        assert [record(app, session_id, index) for index in (1, 2)] == before
        told = ended(app, session_id, 3)
        assert (told["status"], told["stop_reason"]) == ("failed", "interrupted")
        assert told["error"]["code"] == "interrupted"
    assert json.loads(call(gateway.url, "GET", "/healthz").raw)["ok"] is True
    assert gateway.stop() == 0
