"""A result that does not fit its schema is asked for once more, in the same turn, whatever becomes of that."""

from __future__ import annotations

import json
from typing import Any

import pytest

from clawdforge import Forge
from harness import prompts
from harness.agents import NewGateway, scripted
from harness.gateway import Gateway, until
from harness.http import Answer, ask
from harness.ledger import Ledger
from harness.permissions import reply, until_asked
from harness.prompts import ended, record, run, run_streamed, turn, turn_later, turn_streamed
from harness.streams import page

Row = dict[str, Any]
PERSON = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
WRONG = '[[JSON {"name": 7}]]'
RIGHT = 'JSON {"name": "Ada"}'
ERRORS = ['/name: 7 is not of type "string"']


@pytest.fixture
def session_id(app: Forge) -> str:
    return app.create_session(agent="fake").session_id


def types(events: list[Row]) -> list[str]:
    return [each["type"] for each in events]


def check_repaired(found: Answer) -> None:
    """A first answer that was wrong, and a second one that was right."""
    assert (found.status, found.body["ok"], found.body["result"]) == (200, True, {"name": "Ada"}), found.raw
    verdict = {name: value for name, value in found.body.items() if name.startswith("schema_")}
    assert verdict == {"schema_valid": True, "schema_errors": [], "schema_repaired": True}


# --- what is asked, and what comes of it ----------------------------------------------------------------------


@pytest.mark.guarantee
def test_a_result_that_does_not_fit_is_asked_for_once_more(app: Forge, session_id: str, gateway: Gateway) -> None:
    found = turn(app, session_id, f"{WRONG}[[THEN {RIGHT}]]", schema=PERSON)
    check_repaired(found)
    wrong, repair, right = found.body["events"]
    assert types(found.body["events"]) == ["text", "schema_repair", "text"]
    assert repair["errors"] == ERRORS
    assert ERRORS[0] in repair["prompt"]
    assert ('"name": 7' in wrong["content"], '"Ada"' in right["content"]) == (True, True)
    assert (found.body["turn_index"], record(app, session_id, 1)["events"]) == (1, found.body["events"])
    assert turn(app, session_id, "[[SAY on]]").body["turn_index"] == 2


def test_one_that_fits_is_not_asked_for_again(app: Forge, session_id: str) -> None:
    found = turn(app, session_id, f"[[{RIGHT}]][[THEN SAY never said]]", schema=PERSON)
    assert (found.body["schema_valid"], "schema_repaired" in found.body) == (True, False)
    assert types(found.body["events"]) == ["text"]


@pytest.mark.guarantee
def test_it_is_asked_for_once_and_not_twice(app: Forge, session_id: str) -> None:
    found = turn(app, session_id, f"{WRONG}[[THEN SAY no]][[THEN THEN {RIGHT}]]", schema=PERSON)
    assert (found.status, found.body["ok"], found.body["result"]) == (200, True, "no")
    assert (found.body["schema_valid"], found.body["schema_repaired"]) == (False, True)
    assert found.body["schema_errors"] == ['/: "no" is not of type "object"']
    assert types(found.body["events"]).count("schema_repair") == 1


def test_a_run_s_result_is_repaired_too_and_so_its_record_tells_it(app: Forge) -> None:
    found = run(app, f"{WRONG}[[THEN {RIGHT}]]", schema=PERSON)
    check_repaired(found)
    assert ask(app, "GET", f"/runs/{found.body['run_id']}").body["result"] == {"name": "Ada"}


def test_tools_may_be_used_on_the_way_and_their_calls_stay(app: Forge, session_id: str) -> None:
    prompt = f"[[SAY first]][[TOOL a {{}}]]{WRONG}[[THEN SAY second]][[THEN TOOL b {{}}]][[THEN {RIGHT}]]"
    found = turn(app, session_id, prompt, schema=PERSON)
    check_repaired(found)
    assert types(found.body["events"]) == [
        *("text", "tool_call", "text", "schema_repair"),
        *("text", "tool_call", "text"),
    ]


def test_what_is_in_the_only_fence_amid_words_is_the_result(app: Forge, session_id: str) -> None:
    found = turn(app, session_id, f"[[SAY Here it is:\n]][[{RIGHT}]][[SAY \nDone.]]", schema=PERSON)
    assert (found.body["result"], found.body["schema_valid"]) == ({"name": "Ada"}, True)
    assert "schema_repaired" not in found.body
    plain = turn(app, session_id, f"[[SAY Here it is:\n]][[{RIGHT}]]", schema={})
    assert plain.body["result"] == {"name": "Ada"}
    assert run(app, f"[[SAY Here it is:\n]][[{RIGHT}]]").body["result"].startswith("Here it is:")


# --- what an agent is told ------------------------------------------------------------------------------------


def test_an_agent_that_cannot_constrain_itself_is_told_the_schema_and_the_log_is_not(
    app: Forge, session_id: str, db: Ledger
) -> None:
    found = turn(app, session_id, "[[BLOCKS]]", schema=PERSON)
    block, told = [each["text"] for each in json.loads(found.body["events"][0]["content"])]
    assert block == "[[BLOCKS]]"
    assert json.loads(told.rpartition("\n")[2]) == PERSON
    start = next(each for each in db.events(session_id) if each["type"] == "turn_start")
    assert start["data"]["prompt"] == "[[BLOCKS]]"
    assert db.audit(session_id)[-1]["prompt_bytes"] == len("[[BLOCKS]]")
    for schema in ({}, None):
        assert turn(app, session_id, "[[BLOCKS]]", schema=schema).body["events"][0]["content"].count("[[") == 1


def test_an_agent_that_can_constrain_itself_gets_the_schema_and_not_the_words(new_gateway: NewGateway) -> None:
    able = scripted(env={"FAKE_AGENT_CAPS": json.dumps({"_meta": {"clawdforge": {"schema": True}}})})
    gateway = new_gateway(agents={"able": able}).start()
    with gateway.app() as app:
        session_id = app.create_session(agent="able").session_id
        found = turn(app, session_id, f"{WRONG}[[THEN META]][[THEN BLOCKS]]", schema=PERSON)
        meta, _, blocks = found.body["events"][-1]["content"].partition("}[")
        assert json.loads(meta + "}")["prompt"] == {"clawdforge": {"schema": PERSON}}
        [block] = json.loads("[" + blocks)
        assert block["text"] == found.body["events"][1]["prompt"]


# --- how such a turn may end ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "stop_reason"),
    [
        ("[[EMPTY]]", "end_turn"),
        ("[[SAY no]][[STOP refusal]]", "refusal"),
        ("[[SAY n]][[STOP max_tokens]]", "max_tokens"),
    ],
)
def test_only_a_turn_that_ended_well_is_repaired(
    app: Forge, session_id: str, first: str, stop_reason: str
) -> None:
    found = turn(app, session_id, f"{first}[[THEN {RIGHT}]]", schema=PERSON)
    assert (found.status, found.body["stop_reason"], found.body["schema_valid"]) == (200, stop_reason, False)
    assert "schema_repaired" not in found.body
    assert "schema_repair" not in types(found.body["events"])


SEEN = ["text", "schema_repair", "text"]


@pytest.mark.guarantee
@pytest.mark.parametrize(
    ("then", "status", "told"),
    [
        ("EXIT 3", 502, {"code": "agent_failed", "stop_reason": "agent_failed", "exit_code": 3}),
        ("ERROR -32603 no", 502, {"code": "agent_failed", "stop_reason": "agent_failed"}),
        ("HANG", 504, {"code": "timeout", "phase": "total"}),
        (
            "STOP refusal",
            200,
            {"ok": False, "stop_reason": "refusal", "result": "so far"},
        ),
        ("STOP max_tokens", 200, {"ok": True, "stop_reason": "max_tokens", "schema_valid": False}),
    ],
    ids=["dies", "fails", "takes too long", "refuses", "runs out of tokens"],
)
def test_a_repair_ends_its_turn_as_any_prompt_does(
    app: Forge, session_id: str, then: str, status: int, told: Row
) -> None:
    prompt = f"{WRONG}[[THEN SAY so far]][[THEN {then}]]"
    found = turn(app, session_id, prompt, schema=PERSON, timeout_secs=3)
    assert (found.status, types(found.body["events"])) == (status, SEEN), found.raw
    assert {name: found.body.get(name) for name in told} == told
    assert record(app, session_id, 1)["events"] == found.body["events"]
    assert turn(app, session_id, "[[SAY on]]").body["turn_index"] == 2


def test_a_repair_without_an_answer_leaves_the_first_one(app: Forge, session_id: str) -> None:
    found = turn(app, session_id, f"{WRONG}[[THEN EMPTY]]", schema=PERSON)
    assert (found.body["ok"], found.body["result"]) == (True, {"name": 7})
    assert (found.body["schema_valid"], found.body["schema_errors"]) == (False, ERRORS)
    assert found.body["schema_repaired"] is True


def test_an_agent_that_shows_no_life_in_a_repair_runs_out_of_idle_time(app: Forge) -> None:
    found = run(app, f"{WRONG}[[THEN HANG]]", schema=PERSON, idle_timeout_secs=1)
    assert (found.problem(), found.body["phase"]) == ((504, "timeout"), "idle")
    assert types(found.body["events"]) == SEEN[:2]


@pytest.mark.guarantee
@pytest.mark.parametrize("how", ["cancelled", "closed"])
def test_a_repair_can_be_cancelled(app: Forge, session_id: str, how: str) -> None:
    prompt = f"{WRONG}[[THEN SAY so far]][[THEN HANG]]"
    with turn_streamed(app, session_id, prompt, schema=PERSON) as stream:
        seen = stream.until("schema_repair") + stream.until("text")
        if how == "cancelled":
            assert prompts.cancel(app, session_id).body == {"ok": True, "cancelled": True, "turn_index": 1}
        else:
            assert ask(app, "DELETE", f"/sessions/{session_id}").status == 200
        seen += stream.until("turn_end")
    assert (types(seen), seen[-1]["stop_reason"]) == (["turn_start", *SEEN, "turn_end"], "cancelled")
    told = record(app, session_id, 1)
    assert (told["result"], told["schema_valid"], told["schema_repaired"]) == ("so far", False, True)


def test_what_an_agent_asks_in_a_repair_is_put_to_the_app(app: Forge) -> None:
    session_id = app.create_session(agent="fake", permissions="ask").session_id
    turn_later(app, session_id, f"{WRONG}[[THEN ASK edit a.txt]][[THEN {RIGHT}]]", schema=PERSON)
    [asked] = until_asked(app, session_id)
    assert reply(app, session_id, asked["permission_id"], decision="reject").status == 200
    told = ended(app, session_id, 1)
    asking = ["tool_call", "permission_request", "permission_answer"]
    assert types(told["events"]) == ["text", "schema_repair", *asking, "text"]
    assert (told["schema_valid"], told["schema_repaired"]) == (False, True)


@pytest.mark.guarantee
def test_a_gateway_that_dies_in_a_repair_leaves_an_interrupted_turn(new_gateway: NewGateway) -> None:
    gateway = new_gateway().start()
    app = gateway.app()
    session_id = app.create_session(agent="fake").session_id
    turn_later(app, session_id, f"{WRONG}[[THEN SAY so far]][[THEN HANG]]", schema=PERSON)
    until(lambda: types(page(app, session_id).body["events"])[-2:] == SEEN[1:], "the repair")
    gateway.kill()
    gateway.start()
    with Forge(base_url=gateway.url, token=app._config.token) as later:
        app.close()
        told = record(later, session_id, 1)
        assert (told["status"], told["stop_reason"], types(told["events"])) == ("failed", "interrupted", SEEN)
        said = [told["events"][1]["prompt"], told["events"][0]["content"] + told["events"][2]["content"]]
        assert told["usage"]["output_tokens"] == -(-len(said[1]) // 4)
        assert told["usage"]["input_tokens"] > len(said[0]) // 4
        assert turn(later, session_id, "[[SAY on]]").body["turn_index"] == 2
        heard = [*gateway.agent_log.entries("session/prompt")]
        assert len(heard) == 3


# --- in each way to ask ---------------------------------------------------------------------------------------


def test_a_streamed_turn_tells_the_repair_before_it_is_answered(app: Forge, session_id: str) -> None:
    with turn_streamed(app, session_id, f"{WRONG}[[THEN {RIGHT}]]", schema=PERSON, key="one") as stream:
        seen = [*stream.events()]
    assert types(seen) == ["turn_start", *SEEN, "turn_end"]
    check_repaired(turn(app, session_id, f"{WRONG}[[THEN {RIGHT}]]", schema=PERSON, key="one"))
    with run_streamed(app, f"{WRONG}[[THEN {RIGHT}]]", schema=PERSON) as stream:
        assert types([*stream.events()]) == ["turn_start", "agent_start", *SEEN, "turn_end"]


def test_the_usage_of_a_repaired_turn_is_that_of_both_prompts(app: Forge, session_id: str) -> None:
    both = turn(app, session_id, f"{WRONG}[[USAGE]][[THEN {RIGHT}]][[THEN USAGE]]", schema=PERSON)
    check_repaired(both)
    assert (both.body["usage"]["input_tokens"], both.body["usage"]["total_tokens"]) == (200, 260)
    assert (both.body["usage"]["cost_usd"], both.body["usage"]["source"]) == (0.002, "agent")
    one = turn(app, session_id, f"{WRONG}[[USAGE]][[THEN {RIGHT}]]", schema=PERSON)
    assert (one.body["usage"]["total_tokens"], one.body["usage"]["source"]) == (130, "estimate")


def test_an_agent_that_is_told_of_the_conversation_hears_of_the_repair(app: Forge, session_id: str) -> None:
    turn(app, session_id, f"{WRONG}[[THEN {RIGHT}]]", schema=PERSON)
    turn(app, session_id, "[[KILL9]]")
    handed = turn(app, session_id, "[[HANDED]]").body["events"][0]["content"]
    told = [json.loads(line) for line in handed.splitlines() if line.startswith('{"turn": 1')]
    assert [next(iter(each.keys() - {"turn"})) for each in told] == ["user", "assistant", "user", "assistant"]
    assert ERRORS[0] in told[2]["user"]
