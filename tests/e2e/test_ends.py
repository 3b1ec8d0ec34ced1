"""The table of ends: each end of a turn and of a run, produced by a real child, and what comes after it."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from clawdforge import Forge
from harness.agents import NewGateway
from harness.gateway import Gateway, until
from harness.http import Answer, HTTPException, ask
from harness.ledger import Ledger
from harness.levels import gateway_at
from harness.prompts import DETACHED, STREAMED, ended, events_of, post, record
from harness.streams import page


@dataclass(frozen=True)
class End:
    """A prompt, and how its turn ends: `ok` where it is an answer, `code` where it is an error."""

    prompt: str
    stop_reason: str
    status: int
    ok: bool | None = None
    code: str | None = None
    same_agent_after: bool = True
    body: dict[str, Any] = field(default_factory=dict)
    timeout_secs: int | None = None

    def asked(self) -> dict[str, Any]:
        """The body of the POST."""
        return {"prompt": self.prompt, **({"timeout_secs": self.timeout_secs} if self.timeout_secs else {})}


def answer(prompt: str, stop_reason: str, *, ok: bool, empty: bool = False) -> End:
    return End(prompt, stop_reason, 200, ok=ok, body={"empty": empty})


def failure(prompt: str, *, same_agent_after: bool, **body: Any) -> End:
    return End(prompt, "agent_failed", 502, code="agent_failed", same_agent_after=same_agent_after, body=body)


ENDS = {
    "an answer": answer("[[ECHO hi]]", "end_turn", ok=True),
    "only a tool call": answer("[[TOOL t {}]]", "end_turn", ok=True),
    "nothing at all": answer("[[EMPTY]]", "end_turn", ok=False, empty=True),
    "only a thought": answer("[[THINK hm]]", "end_turn", ok=False, empty=True),
    "out of tokens": answer("[[SAY cut]][[STOP max_tokens]]", "max_tokens", ok=True),
    "out of tokens, silently": answer("[[STOP max_tokens]]", "max_tokens", ok=True),
    "out of requests": answer("[[SAY cut]][[STOP max_turn_requests]]", "max_turn_requests", ok=True),
    "refused": answer("[[SAY no]][[STOP refusal]]", "refusal", ok=False),
    "cancelled by the agent": answer("[[STOP cancelled]]", "cancelled", ok=False),
    "total": End(
        "[[SAY so far]][[HANG]]",
        *("timeout", 504),
        code="timeout",
        same_agent_after=False,
        body={"phase": "total"},
        timeout_secs=1,
    ),
    "exit 0": failure("[[EXIT 0]]", same_agent_after=False, exit_code=0),
    "exit 1": failure("[[EXIT 1]]", same_agent_after=False, exit_code=1),
    # As shells say it: who stands between the agent and the gateway at `bwrap` has no other way to tell.
    "exit 137": failure("[[EXIT 137]]", same_agent_after=False, exit_code=-9),
    "killed": failure("[[KILL9]]", same_agent_after=False, exit_code=-9),
    "an error answer": failure("[[ERROR -32603 the model failed]]", same_agent_after=True, exit_code=None),
    "a login is wanted": failure("[[ERROR -32000 log in first]]", same_agent_after=False, exit_code=None),
    "an unknown stop reason": failure("[[STOP tired]]", same_agent_after=True, exit_code=None),
    "no stop reason": failure("[[RESULT {}]]", same_agent_after=True, exit_code=None),
    "a result that is no object": failure("[[RESULT 7]]", same_agent_after=True, exit_code=None),
    "an unfinished last line": failure("[[NO_NEWLINE]]", same_agent_after=False, exit_code=0),
    "stdout closed": End(
        "[[CLOSE_STDOUT]]",
        *("timeout", 504),
        code="timeout",
        same_agent_after=False,
        body={"phase": "total"},
        timeout_secs=1,
    ),
}


def check(found: Answer, end: End) -> None:
    """An answer against its row of the table."""
    assert found.status == end.status, found.raw
    assert found.body["stop_reason"] == end.stop_reason
    assert {name: found.body[name] for name in end.body} == end.body
    if end.code is None:
        assert found.body["ok"] is end.ok
    else:
        assert found.problem() == (end.status, end.code)
        assert "ok" not in found.body
    if end.code == "agent_failed":
        assert isinstance(found.body["stderr_tail"], str)


@pytest.mark.guarantee
@pytest.mark.parametrize("name", ENDS)
def test_a_turn_ends(app: Forge, db: Ledger, name: str) -> None:
    end = ENDS[name]
    session = app.create_session(agent="fake")
    session.turn("before")
    found = ask(app, "POST", f"/sessions/{session.session_id}/turn", end.asked())
    check(found, end)
    assert (found.body["session_id"], found.body["turn_index"]) == (session.session_id, 2)
    assert found.body["events"] == record(app, session.session_id, 2)["events"]
    assert session.state()["live"] is True
    after = session.turn("after")
    assert after.turn_index == 3
    assert after.text() == f"turn {3 if end.same_agent_after else 1}: after"
    [_, turn, _] = db.turns(session.session_id)
    assert (turn["stop_reason"], turn["error"]) == (end.stop_reason, end.code)


@pytest.mark.guarantee
@pytest.mark.parametrize("name", ENDS)
def test_a_run_ends(app: Forge, db: Ledger, name: str) -> None:
    end = ENDS[name]
    found = ask(app, "POST", "/run", {**end.asked(), "agent": "fake"})
    check(found, end)
    assert found.body["session_id"].startswith("run_")
    assert found.body["turn_index"] == 1
    if end.code:
        assert found.body["events"] == record(app, found.body["run_id"], 1)["events"]
    [row] = db.rows("SELECT * FROM sessions WHERE session_id = ?", found.body["session_id"])
    assert (row["kind"], row["close_reason"]) == ("run", "run")
    [turn] = db.turns(found.body["session_id"])
    assert (turn["stop_reason"], turn["error"]) == (end.stop_reason, end.code)


def check_record(found: dict[str, Any], end: End) -> None:
    """What is told of a turn afterwards, against its row of the table."""
    assert (found["status"], found["stop_reason"]) == ("failed" if end.code else "done", end.stop_reason)
    assert found["ok"] is bool(end.ok)
    assert (found["error"] or {}).get("code") == end.code
    told = {**(found.get("extra") or {}), "empty": found["empty"]}
    assert {name: told[name] for name in end.body} == end.body


def check_last(events: list[dict[str, Any]], end: End) -> None:
    """What a log says at a turn's end, against its row of the table."""
    assert [event["type"] for event in events].count("turn_end") == 1
    assert (events[-1]["type"], events[-1]["stop_reason"]) == ("turn_end", end.stop_reason)
    assert events[-1]["ok"] is bool(end.ok)
    assert [event["code"] for event in events if event["type"] == "error"] == ([end.code] if end.code else [])


@pytest.mark.guarantee
@pytest.mark.parametrize("name", ENDS)
def test_a_streamed_turn_ends(app: Forge, name: str) -> None:
    end = ENDS[name]
    session = app.create_session(agent="fake")
    found = post(app, f"/sessions/{session.session_id}/turn", end.asked(), STREAMED)
    check_last(events_of(found), end)
    check_record(record(app, session.session_id, 1), end)
    assert session.turn("after").turn_index == 2


@pytest.mark.guarantee
@pytest.mark.parametrize("name", ENDS)
def test_a_turn_that_nobody_waits_for_ends(app: Forge, name: str) -> None:
    end = ENDS[name]
    session = app.create_session(agent="fake")
    found = post(app, f"/sessions/{session.session_id}/turn", end.asked(), DETACHED)
    assert (found.status, found.body["status"], found.body["turn_index"]) == (202, "running", 1)
    check_record(ended(app, session.session_id, 1), end)
    check_last(page(app, session.session_id, "?after=1").body["events"], end)
    assert session.turn("after").turn_index == 2


@pytest.mark.guarantee
@pytest.mark.parametrize("name", ["an answer", "nothing at all", "refused", "killed", "total"])
@pytest.mark.parametrize("way", [STREAMED, DETACHED], ids=["streamed", "detached"])
def test_a_run_that_nobody_waits_for_ends(app: Forge, name: str, way: dict[str, str]) -> None:
    end = ENDS[name]
    found = post(app, "/run", {**end.asked(), "agent": "fake"}, way)
    if way == DETACHED:
        assert (found.status, found.body["status"]) == (202, "running")
        run_id = found.body["run_id"]
    else:
        events = events_of(found)
        check_last(events, end)
        [run_id] = [each["run_id"] for each in ask(app, "GET", "/runs").body["runs"]]
    check_record(ended(app, run_id, 1), end)
    run = ask(app, "GET", f"/runs/{run_id}").body
    assert (run["stop_reason"], run["ok"]) == (end.stop_reason, bool(end.ok))


@pytest.mark.guarantee
@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_a_turn_that_its_gateway_does_not_outlive_is_interrupted(
    new_gateway: NewGateway, pool: ThreadPoolExecutor, how: str
) -> None:
    """However it was asked for."""
    gateway = new_gateway(settings={"drain_timeout_secs": 0.3}).start()
    app = gateway.app()
    ways: dict[str, dict[str, str]] = {
        app.create_session(agent="fake").session_id: way for way in ({}, STREAMED, DETACHED)
    }
    body = {"prompt": "[[SAY on]][[HANG]]"}
    calls = {each: pool.submit(post, app, f"/sessions/{each}/turn", body, way) for each, way in ways.items()}
    until(lambda: all(b'"on"' in page(app, each).raw for each in ways), "what the agents say to be seen")
    gateway.stop() if how == "stopped" else gateway.kill()
    for session_id, way in ways.items():
        check_last_words(calls[session_id], how, way)
    gateway.start()
    with Forge(base_url=gateway.url, token=app._config.token) as later:
        app.close()
        interrupted = End("", "interrupted", 502, code="interrupted")
        for session_id in ways:
            check_record(record(later, session_id, 1), interrupted)
            log = page(later, session_id, "?after=1").body["events"]
            check_last(log, interrupted)
            assert [each["content"] for each in log if each["type"] == "text"] == ["on"]
            assert later.attach_session(session_id).turn("after").turn_index == 2
    assert gateway.heard("on") == len(ways)


def check_last_words(asked: Future[Answer], how: str, way: dict[str, str]) -> None:
    """What the caller was told: one who waited hears of a stop, and nothing of a kill."""
    if way == DETACHED:
        assert asked.result().status == 202
    elif how == "killed":
        assert isinstance(asked.exception(), (OSError, HTTPException))
    elif way == STREAMED:
        check_last(events_of(asked.result()), End("", "interrupted", 502, code="interrupted"))
    else:
        assert asked.result().problem() == (502, "interrupted")


def test_where_nobody_else_holds_its_stdout_its_end_is_seen_at_once() -> None:
    with gateway_at("none") as gateway, gateway.start().app() as app:
        session = app.create_session(agent="fake")
        found = ask(app, "POST", f"/sessions/{session.session_id}/turn", {"prompt": "[[CLOSE_STDOUT]]"})
        assert found.problem() == (502, "agent_failed")
        assert found.body["exit_code"] is None
        assert session.turn("after").text() == "turn 1: after"


@pytest.mark.guarantee
def test_what_was_seen_before_an_error_stays_in_the_log(app: Forge, db: Ledger) -> None:
    session = app.create_session(agent="fake")
    found = ask(app, "POST", f"/sessions/{session.session_id}/turn", {"prompt": "[[SAY so far]][[EXIT 3]]"})
    assert found.problem() == (502, "agent_failed")
    events = [event for event in db.events(session.session_id) if event["turn_index"] == 1]
    assert [event["type"] for event in events] == ["turn_start", "text", "error", "turn_end"]
    assert events[1]["data"]["content"] == "so far"
    assert events[2]["data"]["code"] == "agent_failed"


SEEN = "[[THINK hm]][[TOOL look {}]][[SAY so]][[SAY  far]]"


@pytest.mark.guarantee
@pytest.mark.parametrize("end", ["[[EXIT 3]]", "[[HANG]]"], ids=["agent_failed", "timeout"])
def test_an_error_tells_what_was_seen_of_its_turn_also_whoever_asks_again(
    app: Forge, gateway: Gateway, end: str
) -> None:
    session = app.create_session(agent="fake")
    asked = {"prompt": SEEN + end, "timeout_secs": 2}
    for path, more in ((f"/sessions/{session.session_id}/turn", {}), ("/run", {"agent": "fake"})):
        key = {"Idempotency-Key": path}
        first, again = (post(app, path, {**asked, **more}, key) for _ in range(2))
        told = [(each["type"], each.get("content")) for each in first.body["events"]]
        assert told == [("thinking", "hm"), ("tool_call", None), ("text", "so far")]
        assert (again.headers.get("idempotent-replayed"), again.status) == ("true", first.status)
        assert {**again.body, "request_id": None} == {**first.body, "request_id": None}
    assert "so far" not in gateway.log()


def test_an_error_of_a_turn_that_nothing_was_seen_of_says_so(app: Forge) -> None:
    refused = ask(app, "POST", "/run", {"prompt": "hi", "agent": "fake", "mode": "yolo"})
    never_started = ask(app, "POST", "/run", {"prompt": "hi", "agent": "fake-exit1"})
    assert (refused.problem(), never_started.problem()) == ((422, "invalid"), (502, "agent_failed"))
    assert refused.body["events"] == never_started.body["events"] == []


def test_the_end_of_stderr_is_told(app: Forge) -> None:
    found = ask(app, "POST", "/run", {"prompt": "[[STDERR 100000]][[EXIT 2]]", "agent": "fake"})
    assert found.problem() == (502, "agent_failed")
    assert "stderr stderr" in found.body["stderr_tail"]
    assert len(found.body["stderr_tail"]) <= 2000


def test_an_agent_without_a_sign_of_life_runs_out_of_idle_time(app: Forge) -> None:
    session = app.create_session(agent="fake", idle_timeout_secs=1)
    session.turn("before")
    found = ask(app, "POST", f"/sessions/{session.session_id}/turn", {"prompt": "[[SAY a]][[HANG]]"})
    assert found.problem() == (504, "timeout")
    assert (found.body["phase"], found.body["stop_reason"]) == ("idle", "timeout")
    assert session.turn("after").text() == "turn 1: after"


@pytest.mark.guarantee
def test_every_update_begins_the_idle_time_anew(app: Forge) -> None:
    session = app.create_session(agent="fake", idle_timeout_secs=1)
    turn = session.turn("[[RATE 12 5]]")  # 2.4 s in all, a fifth of a second between two
    assert turn.text() == "".join(f"{number} " for number in range(12))


@pytest.mark.guarantee
@pytest.mark.parametrize("where", ["the turn's", "the session's"])
@pytest.mark.parametrize("phase", ["startup", "idle", "total"])
def test_each_deadline_is_the_turn_s_own_else_its_session_s(app: Forge, phase: str, where: str) -> None:
    name = {"total": "timeout_secs"}.get(phase, f"{phase}_timeout_secs")
    own = where == "the turn's"
    created = ask(app, "POST", "/sessions", {"agent": "moody", name: 60 if own else 1})
    path = f"/sessions/{created.body['session_id']}/turn"
    if phase == "startup":
        assert ask(app, "POST", path, {"prompt": "[[EXIT 1]]"}).problem() == (502, "agent_failed")
        Path(created.body["cwd"], "fault").write_text("hang-initialize")
    found = ask(app, "POST", path, {"prompt": "[[HANG]]", **({name: 1} if own else {})})
    assert found.problem() == (504, "timeout")
    assert found.body["phase"] == phase


def test_a_run_has_its_own_idle_time(app: Forge) -> None:
    found = ask(app, "POST", "/run", {"prompt": "[[HANG]]", "agent": "fake", "idle_timeout_secs": 1})
    assert found.problem() == (504, "timeout")
    assert found.body["phase"] == "idle"


def test_a_turn_whose_fresh_agent_does_not_start_in_time_is_a_timeout_of_the_startup(
    strict_app: Forge, strict_gateway: Gateway
) -> None:
    session = strict_app.create_session(agent="moody")
    ask(strict_app, "POST", f"/sessions/{session.session_id}/turn", {"prompt": "[[EXIT 1]]"})
    fault = Path(session.cwd, "fault")
    for name in ("hang-initialize", "hang-new"):
        fault.write_text(name)
        found = ask(strict_app, "POST", f"/sessions/{session.session_id}/turn", {"prompt": f"for {name}"})
        assert found.problem() == (504, "timeout")
        assert (found.body["phase"], found.body["stop_reason"]) == ("startup", "timeout")
        assert strict_gateway.heard(f"for {name}") == 0
    fault.unlink()
    assert session.turn("awake").text() == "turn 1: awake"


@pytest.mark.parametrize(
    ("fault", "exit_code"), [("exit1", 1), ("exit-new", 1), ("error-new", None), ("old-protocol 2", None)]
)
def test_a_turn_whose_fresh_agent_does_not_start_is_a_failure_and_the_next_one_tries_again(
    app: Forge, fault: str, exit_code: int | None
) -> None:
    session = app.create_session(agent="moody")
    ask(app, "POST", f"/sessions/{session.session_id}/turn", {"prompt": "[[EXIT 1]]"})
    Path(session.cwd, "fault").write_text(fault)
    found = ask(app, "POST", f"/sessions/{session.session_id}/turn", {"prompt": "two"})
    assert found.problem() == (502, "agent_failed")
    assert (found.body["turn_index"], found.body["exit_code"]) == (2, exit_code)
    Path(session.cwd, "fault").unlink()
    assert session.turn("three").turn_index == 3


def test_a_run_whose_agent_does_not_start_in_time_is_a_timeout_of_the_startup(strict_app: Forge) -> None:
    found = ask(strict_app, "POST", "/run", {"prompt": "hi", "agent": "fake-hang-new"})
    assert found.problem() == (504, "timeout")
    assert found.body["phase"] == "startup"
    assert found.body["session_id"].startswith("run_")


def test_the_total_time_counts_from_the_turn_s_start_also_while_the_agent_starts(app: Forge) -> None:
    found = ask(app, "POST", "/run", {"prompt": "hi", "agent": "fake-hang-initialize", "timeout_secs": 1})
    assert found.problem() == (504, "timeout")
    assert found.body["phase"] == "total"


def test_a_value_that_the_agent_refuses_ends_a_run_and_is_answered_as_the_caller_s_own_mistake(app: Forge) -> None:
    found = ask(app, "POST", "/run", {"prompt": "hi", "agent": "fake", "mode": "yolo"})
    assert found.problem() == (422, "invalid")
    assert found.body["stop_reason"] == "agent_failed"
    assert found.body["errors"][0]["loc"] == ["mode"]
    told = record(app, found.body["run_id"], 1)
    assert (told["status"], told["stop_reason"]) == ("failed", "agent_failed")
    assert told["error"] == {"code": "invalid", "detail": found.body["detail"]}
    assert told["extra"]["errors"] == found.body["errors"]


def test_sizes_are_in_the_audit_and_words_are_not(app: Forge, db: Ledger) -> None:
    session = app.create_session(agent="fake", model="fake-small")
    session.turn("[[SAY größe]]")
    [line] = db.audit(session.session_id)
    assert (line["prompt_bytes"], line["answer_bytes"]) == (len("[[SAY größe]]".encode()), len("größe".encode()))
    assert (line["agent"], line["model"], line["kind"]) == ("fake", "fake-small", "session")
    assert not any("größe" in str(value) for value in line.values())
