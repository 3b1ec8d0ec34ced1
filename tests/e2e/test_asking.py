"""Agents that ask an app: asked as events, listed, answered once, by whoever holds the app's token, or by time."""

from __future__ import annotations

import json
import time
import uuid
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from clawdforge import Forge
from clawdforge.client.session import Session
from clawdforge.wire.turns import TurnResult
from harness import http, streams
from harness.gateway import Gateway, until
from harness.http import Answer, ask
from harness.permissions import outcomes, questions_and_answers, reply, until_asked, waiting

SELECTED = {"outcome": "selected"}
CANCELLED = {"outcome": "cancelled"}


@pytest.fixture
def session(app: Forge) -> Session:
    """A session whose agent's requests are put to the app."""
    return app.create_session(agent="fake", permissions="ask")


def opened(app: Forge, **options: Any) -> Session:
    """Such a session, with options that the SDK does not know."""
    created = ask(app, "POST", "/sessions", {"agent": "fake", "permissions": "ask", **options})
    return app.attach_session(created.body["session_id"])


def begin(pool: ThreadPoolExecutor, session: Session, prompt: str = "[[ASK edit a.txt]]") -> Future[TurnResult]:
    return pool.submit(session.turn, prompt)


def asked_once(app: Forge, session: Session) -> str:
    """The id of the one request that waits, once there is one."""
    (found,) = until_asked(app, session.session_id)
    return str(found["permission_id"])


# --- asked, listed, answered -------------------------------------------------------------------------------


@pytest.mark.guarantee
def test_a_request_is_an_event_is_listed_with_the_same_fields_and_gets_its_answer(
    app: Forge, session: Session, pool: ThreadPoolExecutor
) -> None:
    turn = begin(pool, session)
    (listed,) = until_asked(app, session.session_id)
    told = streams.page(app, session.session_id).body["events"]
    (event,) = [each for each in told if each["type"] == "permission_request"]
    assert listed == {name: event[name] for name in listed}
    assert set(event) - set(listed) == {"seq", "type", "turn_index", "ts"}
    assert [(each["option_id"], each["kind"]) for each in listed["options"]] == [
        ("option-0", "allow_always"),
        ("option-1", "allow_once"),
        ("option-2", "reject_once"),
    ]
    assert (listed["kind"], listed["title"]) == ("edit", "Ask edit")
    answer = reply(app, session.session_id, listed["permission_id"], decision="allow")
    assert (answer.status, answer.body) == (
        200,
        {
            "ok": True,
            "permission_id": listed["permission_id"],
            "decision": "allow",
            "option_id": "option-1",
            "by": f"app:{app_name(app)}",
        },
    )
    events = turn.result().events
    assert outcomes(turn.result().text()) == {**SELECTED, "optionId": "option-1"}
    (call,) = [each for each in events if each["type"] == "tool_call"]
    assert call["id"] == listed["tool_call_id"]
    (told_answer,) = [each for each in events if each["type"] == "permission_answer"]
    assert {name: told_answer[name] for name in answer.body if name != "ok"} == {
        name: value for name, value in answer.body.items() if name != "ok"
    }
    assert waiting(app, session.session_id) == []


def app_name(app: Forge) -> str:
    """The name of an app's token, as one of its rows tells it."""
    return str(app.list_sessions()["sessions"][0]["app_name"])


ALL = "allow_once|allow_always|reject_once|reject_always"
NO_ALWAYS = "allow_once|reject_once"
ANSWERS = {
    "allow": (ALL, {"decision": "allow"}, "allow", "option-0"),
    "allow always": (ALL, {"decision": "allow_always"}, "allow_always", "option-1"),
    "reject": (ALL, {"decision": "reject"}, "reject", "option-2"),
    "reject always": (ALL, {"decision": "reject_always"}, "reject_always", "option-3"),
    "always where once is all there is": (NO_ALWAYS, {"decision": "allow_always"}, "allow", "option-0"),
    "never where once is all there is": (NO_ALWAYS, {"decision": "reject_always"}, "reject", "option-1"),
    "once where never is all there is": ("reject_always", {"decision": "reject"}, "reject_always", "option-0"),
    "by option": (ALL, {"option_id": "option-3"}, "reject_always", "option-3"),
    "by an option of a new kind": ("brand_new", {"option_id": "option-0"}, "other", "option-0"),
    "by option, the other one null": (ALL, {"option_id": "option-0", "decision": None}, "allow", "option-0"),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_a_decision_takes_the_option_that_says_it(
    app: Forge, session: Session, pool: ThreadPoolExecutor, case: str
) -> None:
    options, body, decision, option_id = ANSWERS[case]
    turn = begin(pool, session, f"[[OPTIONS {options}]][[ASK edit a.txt]]")
    answer = reply(app, session.session_id, asked_once(app, session), **body)
    assert (answer.body["decision"], answer.body["option_id"]) == (decision, option_id)
    assert outcomes(turn.result().text()) == {**SELECTED, "optionId": option_id}
    assert questions_and_answers(turn.result().events)[1][1] == decision


NOT_OFFERED = {
    "an option that was not offered": (ALL, {"option_id": "option-9"}, "option_id"),
    "an empty option": (ALL, {"option_id": ""}, "option_id"),
    "allow where there is no allowing": ("reject_once", {"decision": "allow_always"}, "decision"),
    "reject where there is no rejecting": ("allow_once|allow_always", {"decision": "reject"}, "decision"),
    "once where always is all there is": ("allow_always|reject_once", {"decision": "allow"}, "decision"),
    "any where there is nothing known": ("brand_new", {"decision": "reject"}, "decision"),
}


@pytest.mark.parametrize("case", NOT_OFFERED)
def test_what_the_agent_does_not_offer_is_refused_by_names_and_the_request_waits_on(
    app: Forge, session: Session, pool: ThreadPoolExecutor, case: str
) -> None:
    options, body, field = NOT_OFFERED[case]
    turn = begin(pool, session, f"[[OPTIONS {options}]][[ASK edit a.txt]]")
    permission_id = asked_once(app, session)
    refused = reply(app, session.session_id, permission_id, **body)
    assert refused.problem() == (422, "invalid")
    assert refused.body["errors"][0]["loc"] == [field]
    assert all(f"option-{place}" in refused.body["detail"] for place in range(len(options.split("|"))))
    assert asked_once(app, session) == permission_id
    assert reply(app, session.session_id, permission_id, option_id="option-0").status == 200
    turn.result()


NONSENSE: dict[str, Any] = {
    "nothing": {},
    "both": {"decision": "allow", "option_id": "option-1"},
    "nulls": {"decision": None, "option_id": None},
    "another word": {"decision": "yes"},
    "cancelled": {"decision": "cancelled"},
    "a number": {"decision": 1},
    "a list": {"option_id": ["option-1"]},
    "an unknown field": {"decision": "allow", "note": "please"},
    "no object": [{"decision": "allow"}],
    "a long id": {"option_id": "x" * 10_000},
}


def test_nonsense_is_refused_and_decides_nothing(app: Forge, session: Session, pool: ThreadPoolExecutor) -> None:
    turn = begin(pool, session)
    permission_id = asked_once(app, session)
    path = f"/sessions/{session.session_id}/permissions/{permission_id}"
    for name, body in NONSENSE.items():
        assert ask(app, "POST", path, body).problem() == (422, "invalid"), name
    assert ask(app, "POST", path).problem() == (400, "bad_request")
    assert ask(app, "PUT", path, {"decision": "allow"}).problem() == (405, "method_not_allowed")
    assert ask(app, "GET", f"/sessions/{session.session_id}/permissions?limit=1").problem() == (422, "invalid")
    assert reply(app, session.session_id, permission_id, decision="reject").status == 200
    assert questions_and_answers(turn.result().events)[1][1] == "reject"


@pytest.mark.parametrize("secs", [0, 86_401, "5", 1.5, True])
def test_a_time_that_is_none_is_refused(app: Forge, session: Session, secs: Any) -> None:
    times = {"permission_timeout_secs": secs}
    for path, body in (
        ("/sessions", {"agent": "fake"}),
        ("/run", {"agent": "fake", "prompt": "hi"}),
        (f"/sessions/{session.session_id}/turn", {"prompt": "hi"}),
    ):
        refused = ask(app, "POST", path, {**body, **times})
        assert refused.problem() == (422, "invalid")
        assert refused.body["errors"][0]["loc"] == ["permission_timeout_secs"]


# --- several, twice, at once, late -------------------------------------------------------------------------


def test_several_wait_at_once_and_each_gets_its_own_answer(
    app: Forge, session: Session, pool: ThreadPoolExecutor
) -> None:
    turn = begin(pool, session, "[[ASKS 3 execute]]")
    asked = until_asked(app, session.session_id, 3)
    assert len({each["permission_id"] for each in asked}) == 3
    assert len({each["tool_call_id"] for each in asked}) == 1
    for each, decision in zip(reversed(asked), ("allow", "reject", "allow_always"), strict=True):
        assert reply(app, session.session_id, each["permission_id"], decision=decision).status == 200
    heard = [each["optionId"] for each in outcomes(turn.result().text())]
    assert heard == ["option-0", "option-2", "option-1"]


@pytest.mark.guarantee
def test_of_many_answers_at_the_same_instant_exactly_one_counts_and_all_are_told_which(
    app: Forge, session: Session, pool: ThreadPoolExecutor
) -> None:
    turn = begin(pool, session)
    permission_id = asked_once(app, session)
    decisions = ["allow", "reject", "allow_always"] * 5
    calls = [
        pool.submit(reply, app, session.session_id, permission_id, decision=decision) for decision in decisions
    ]
    given = [call.result() for call in calls]
    (first,) = [each for each in given if each.status == 200]
    later = [each for each in given if each.status != 200]
    assert {each.problem() for each in later} == {(409, "permission_answered")}
    for each in later:
        assert decided(each) == decided(first)
    assert outcomes(turn.result().text()) == {**SELECTED, "optionId": first.body["option_id"]}
    assert len(questions_and_answers(turn.result().events)) == 2


def decided(answer: Answer) -> list[Any]:
    return [answer.body[name] for name in ("permission_id", "decision", "option_id", "by")]


@pytest.mark.guarantee
def test_a_late_answer_is_told_what_was_decided_after_the_turn_and_after_the_close_too(
    app: Forge, session: Session, pool: ThreadPoolExecutor
) -> None:
    turn = begin(pool, session, "[[ASK edit a.txt]][[ASK edit b.txt]]")
    permission_id = asked_once(app, session)
    first = reply(app, session.session_id, permission_id, decision="reject")
    late = [reply(app, session.session_id, permission_id, decision="allow")]
    assert asked_once(app, session) != permission_id
    reply(app, session.session_id, asked_once(app, session), decision="reject")
    turn.result()
    late.append(reply(app, session.session_id, permission_id, option_id="nonsense"))
    session.close()
    late.append(reply(app, session.session_id, permission_id, decision="allow"))
    for each in late:
        assert each.problem() == (409, "permission_answered")
        assert decided(each) == decided(first)
    assert waiting(app, session.session_id) == []
    unknown = reply(app, session.session_id, "perm_0", decision="allow")
    assert unknown.problem() == (404, "not_found")


def test_what_a_policy_has_answered_is_answered(app: Forge) -> None:
    session = app.create_session(agent="fake", permissions="reads")
    (question, _) = [
        each for each in session.turn("[[ASK read a]]").events if each["type"].startswith("permission_")
    ]
    late = reply(app, session.session_id, question["permission_id"], decision="reject")
    assert late.problem() == (409, "permission_answered")
    assert (late.body["decision"], late.body["by"]) == ("allow", "policy:reads")


@pytest.mark.guarantee
def test_a_stranger_finds_nothing_to_answer(
    gateway: Gateway, app: Forge, session: Session, pool: ThreadPoolExecutor
) -> None:
    turn = begin(pool, session)
    permission_id = asked_once(app, session)
    mine = app.create_session(agent="fake", permissions="ask")
    assert reply(app, mine.session_id, permission_id, decision="allow").problem() == (404, "not_found")
    with gateway.app(f"other-{uuid.uuid4().hex}") as other, opened(other) as own:
        for answer in (
            reply(other, session.session_id, permission_id, decision="allow"),
            ask(other, "GET", f"/sessions/{session.session_id}/permissions"),
            ask(other, "GET", "/sessions/sess_0/permissions"),
        ):
            assert answer.problem() == (404, "not_found")
            assert answer.body["detail"] == "session not found"
        assert reply(other, own.session_id, permission_id, decision="allow").problem() == (404, "not_found")
        assert http.call(gateway.url, "GET", f"/sessions/{session.session_id}/permissions").status == 401
    assert asked_once(app, session) == permission_id
    reply(app, session.session_id, permission_id, decision="reject")
    turn.result()


def test_the_same_answer_by_the_same_key_is_the_same_again(
    app: Forge, session: Session, pool: ThreadPoolExecutor
) -> None:
    turn = begin(pool, session)
    path = f"/sessions/{session.session_id}/permissions/{asked_once(app, session)}"

    def post(decision: str) -> Answer:
        key = {"Idempotency-Key": "once"}
        token = app._config.token
        return http.call(app.base_url, "POST", path, token=token, body={"decision": decision}, headers=key)

    first, again, other = post("reject"), post("reject"), post("allow")
    assert (first.status, again.status, again.body) == (200, 200, first.body)
    assert ("idempotent-replayed" in first.headers, again.headers["idempotent-replayed"]) == (False, "true")
    assert other.problem() == (409, "idempotency_mismatch")
    assert questions_and_answers(turn.result().events)[1][1] == "reject"


# --- time --------------------------------------------------------------------------------------------------


@pytest.mark.guarantee
def test_a_request_that_nobody_answers_is_rejected_in_time_and_the_turn_goes_on(app: Forge) -> None:
    session = opened(app, permission_timeout_secs=1)
    turn = session.turn("[[ASK edit a.txt]][[SAY  and on]]")
    question, answer = (each for each in turn.events if each["type"].startswith("permission_"))
    assert abs(question["expires_at"] - question["ts"] - 1000) < 500
    assert answer["ts"] >= question["expires_at"] - 100
    assert (answer["decision"], answer["option_id"], answer["by"]) == ("reject", "option-2", "expiry")
    assert turn.stop_reason == "end_turn"
    assert turn.text().endswith(" and on")
    late = reply(app, session.session_id, question["permission_id"], decision="allow")
    assert (late.problem(), late.body["by"]) == ((409, "permission_answered"), "expiry")


def test_a_turn_s_own_time_counts_before_its_session_s(app: Forge) -> None:
    session = opened(app, permission_timeout_secs=3600)
    body = {"prompt": "[[ASK edit a.txt]]", "permission_timeout_secs": 1}
    answer = ask(app, "POST", f"/sessions/{session.session_id}/turn", body)
    assert questions_and_answers(answer.body["events"])[1][1:] == ("reject", "expiry")


def test_where_nothing_rejects_time_takes_it_for_a_no(app: Forge) -> None:
    session = opened(app, permission_timeout_secs=1)
    turn = session.turn("[[OPTIONS allow_once]][[ASK edit a.txt]]")
    assert outcomes(turn.text()) == CANCELLED
    assert questions_and_answers(turn.events)[1][1:] == ("reject", "expiry")


@pytest.mark.guarantee
def test_while_a_request_waits_an_agent_may_be_silent_and_after_it_no_longer(
    app: Forge, pool: ThreadPoolExecutor
) -> None:
    asking = opened(app, idle_timeout_secs=1)
    other = opened(app, idle_timeout_secs=1)
    path = f"/sessions/{asking.session_id}/turn"
    turn = pool.submit(ask, app, "POST", path, {"prompt": "[[ASK edit a.txt]][[SAY heard]][[HANG]]"})
    permission_id = asked_once(app, asking)
    silent = ask(app, "POST", f"/sessions/{other.session_id}/turn", {"prompt": "[[HANG]]"})
    assert (silent.problem(), silent.body["phase"]) == ((504, "timeout"), "idle")
    assert asked_once(app, asking) == permission_id
    answered_at = time.time()
    assert reply(app, asking.session_id, permission_id, decision="allow").status == 200
    ended = turn.result()
    assert (ended.problem(), ended.body["phase"]) == ((504, "timeout"), "idle")
    assert time.time() - answered_at > 0.9
    events = streams.page(app, asking.session_id).body["events"]
    assert any("heard" in each.get("content", "") for each in events)


def test_the_total_deadline_does_not_wait_for_anybody(app: Forge, session: Session) -> None:
    body = {"prompt": "[[ASK edit a.txt]]", "timeout_secs": 1}
    ended = ask(app, "POST", f"/sessions/{session.session_id}/turn", body)
    assert (ended.problem(), ended.body["phase"]) == ((504, "timeout"), "total")
    events = streams.page(app, session.session_id).body["events"]
    assert questions_and_answers(events)[1] == ("answer", "cancelled", "cancel")
    assert waiting(app, session.session_id) == []


# --- runs --------------------------------------------------------------------------------------------------


def test_an_app_follows_and_answers_its_run_by_the_run_s_id(app: Forge, gateway: Gateway) -> None:
    path, prefer = "/run", {"Prefer": "respond-async"}
    body = {"agent": "fake", "prompt": "[[ASK edit a.txt]]", "permissions": "ask"}
    begun = http.call(app.base_url, "POST", path, token=app._config.token, body=body, headers=prefer)
    assert begun.status == 202
    run_id = begun.body["run_id"]
    with streams.Stream(app, run_id) as stream:
        question = stream.until("permission_request")[-1]
        (listed,) = waiting(app, run_id)
        assert listed["permission_id"] == question["permission_id"]
        with gateway.app(f"other-{uuid.uuid4().hex}") as other:
            stranger = reply(other, run_id, listed["permission_id"], decision="allow")
            assert stranger.problem() == (404, "not_found")
        assert reply(app, run_id, listed["permission_id"], decision="allow").status == 200
        assert stream.until("session_closed")[0]["by"].startswith("app:")
    assert outcomes(app.get_run(run_id)["result"]) == {**SELECTED, "optionId": "option-1"}
    assert waiting(app, run_id) == []
    late = reply(app, run_id, listed["permission_id"], decision="reject")
    assert late.problem() == (409, "permission_answered")
    assert ask(app, "GET", f"/sessions/{run_id}").problem() == (404, "not_found")
    assert ask(app, "POST", f"/sessions/{run_id}/turn", {"prompt": "hi"}).problem() == (404, "not_found")


def test_a_run_that_asks_is_cancelled_by_its_id(app: Forge, pool: ThreadPoolExecutor) -> None:
    body = {"agent": "fake", "prompt": "[[ASK edit a.txt]]", "permissions": "ask"}
    run = pool.submit(ask, app, "POST", "/run", body)
    run_id = until_running(app)
    until_asked(app, run_id)
    assert ask(app, "POST", f"/sessions/{run_id}/cancel").body["cancelled"] is True
    assert run.result().body["stop_reason"] == "cancelled"
    events = streams.page(app, run_id).body["events"]
    assert questions_and_answers(events)[1] == ("answer", "cancelled", "cancel")


def until_running(app: Forge) -> str:
    until(lambda: ask(app, "GET", "/runs").body["count"] > 0, "the run to be there")
    return str(ask(app, "GET", "/runs").body["runs"][0]["run_id"])


# --- what is behind it -------------------------------------------------------------------------------------


def test_an_edit_happens_when_it_is_allowed_and_not_before(
    app: Forge, session: Session, pool: ThreadPoolExecutor
) -> None:
    file = Path(session.cwd, "a.txt")
    turn = begin(pool, session, "[[WRITE a.txt mine]][[WRITE b.txt mine]]")
    permission_id = asked_once(app, session)
    assert not file.exists()
    reply(app, session.session_id, permission_id, decision="allow")
    second = asked_once(app, session)
    assert file.read_text() == "mine"
    reply(app, session.session_id, second, decision="reject")
    calls = [each["status"] for each in turn.result().events if each["type"] == "tool_call"]
    assert calls == ["completed", "failed"]
    assert not Path(session.cwd, "b.txt").exists()


def test_a_file_that_the_gateway_is_asked_for_is_the_app_s_matter_too(
    app: Forge, session: Session, pool: ThreadPoolExecutor
) -> None:
    turn = begin(pool, session, "[[FS_WRITE a.txt hello]]")
    assert not Path(session.cwd, "a.txt").exists()
    reply(app, session.session_id, asked_once(app, session), decision="allow")
    assert "result" in json.loads(turn.result().text())
    assert Path(session.cwd, "a.txt").read_text() == "hello"


def test_even_an_app_cannot_have_the_gateway_write_outside(
    app: Forge, session: Session, pool: ThreadPoolExecutor
) -> None:
    turn = begin(pool, session, "[[FS_WRITE ../out.txt hello]]")
    reply(app, session.session_id, asked_once(app, session), decision="allow")
    assert "error" in json.loads(turn.result().text())
    assert not Path(session.cwd).with_name("out.txt").exists()
