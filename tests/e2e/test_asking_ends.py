"""Requests that are open when something ends, and agents that ask too much: each gets its one answer, in place."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from clawdforge import Forge
from clawdforge.client.session import Session
from harness import agents, ledger, streams
from harness.agents import NewGateway
from harness.gateway import Gateway, until
from harness.http import Answer, ask
from harness.ledger import Ledger
from harness.permissions import outcomes, questions_and_answers, reply, until_asked, waiting

MIB = 1024 * 1024
WAITING_LIMIT = 32
ASKS = "[[ASKS 2 edit]]"


def turn(app: Forge, session: Session, prompt: str) -> Answer:
    return ask(app, "POST", f"/sessions/{session.session_id}/turn", {"prompt": prompt})


def end_by_cancel(gateway: Gateway, app: Forge, session: Session) -> None:
    assert ask(app, "POST", f"/sessions/{session.session_id}/cancel").body["cancelled"] is True


def end_by_close(gateway: Gateway, app: Forge, session: Session) -> None:
    session.close()


ENDS: dict[str, tuple[Callable[[Gateway, Forge, Session], None], str]] = {
    "a cancel": (end_by_cancel, "cancelled"),
    "the session's close": (end_by_close, "cancelled"),
}


@pytest.mark.guarantee
@pytest.mark.parametrize("end", ENDS)
def test_what_is_open_when_a_turn_ends_is_answered_before_that(
    gateway: Gateway, app: Forge, db: Ledger, pool: ThreadPoolExecutor, end: str
) -> None:
    session = app.create_session(agent="fake", permissions="ask")
    running = pool.submit(turn, app, session, f"[[SAY so far]]{ASKS}")
    asked = until_asked(app, session.session_id, 2)
    how, stop_reason = ENDS[end]
    how(gateway, app, session)
    assert running.result().body["stop_reason"] == stop_reason
    check_dropped(app, db, session.session_id, asked, by="cancel")


def check_dropped(app: Forge, db: Ledger, session_id: str, asked: list[dict[str, Any]], *, by: str) -> None:
    """Each has its answer, in its turn and before the turn's end, and nothing else can be answered."""
    events = db.events(session_id)
    given = [each for each in events if each["type"] == "permission_answer"]
    assert [each["data"] for each in given] == [
        {"permission_id": each["permission_id"], "decision": "cancelled", "option_id": None, "by": by}
        for each in asked
    ]
    (end,) = [each["seq"] for each in events if each["type"] == "turn_end"]
    assert all(each["turn_index"] == 1 and each["seq"] < end for each in given)
    assert waiting(app, session_id) == []
    for each in asked:
        late = reply(app, session_id, each["permission_id"], decision="allow")
        assert (late.problem(), late.body["by"]) == ((409, "permission_answered"), by)


def test_an_answer_to_a_turn_that_is_being_cancelled_comes_too_late(app: Forge, pool: ThreadPoolExecutor) -> None:
    """Its agent heeds neither the cancel nor the answer, until its time is over."""
    session = app.create_session(agent="fake", permissions="ask")
    running = pool.submit(turn, app, session, "[[IGNORE_CANCEL]][[ASK edit a.txt]][[HANG]]")
    (asked,) = until_asked(app, session.session_id)
    cancel = pool.submit(ask, app, "POST", f"/sessions/{session.session_id}/cancel")
    until(lambda: not waiting(app, session.session_id), "the cancel to take the request away")
    late = reply(app, session.session_id, asked["permission_id"], decision="allow")
    assert (late.problem(), late.body["decision"]) == ((409, "permission_answered"), "cancelled")
    assert cancel.result().body["cancelled"] is True
    assert running.result().body["stop_reason"] == "cancelled"


def test_a_gateway_that_stops_still_takes_answers_for_the_turns_that_it_lets_end(
    new_gateway: NewGateway, pool: ThreadPoolExecutor
) -> None:
    gateway = new_gateway(settings={"drain_timeout_secs": 30}).start()
    with gateway.app() as app:
        session_id, running = begun(app, pool, as_run=False)
        asked = until_asked(app, session_id, 2)
        gateway.signal(signal.SIGTERM)
        until(lambda: "stopping" in gateway.log(), "the gateway to begin its end")
        for each in asked:
            assert reply(app, session_id, each["permission_id"], decision="allow").status == 200
        assert running.result().body["stop_reason"] == "end_turn"
    assert gateway.wait() == 0
    ledger.check(Ledger(gateway.data_dir), "app", gateway.agent_log)


@pytest.mark.guarantee
@pytest.mark.parametrize("stop", ["SIGTERM", "SIGKILL"])
def test_what_is_open_when_the_gateway_ends_is_answered_once_and_before_the_turn_s_end(
    new_gateway: NewGateway, pool: ThreadPoolExecutor, stop: str
) -> None:
    gateway = new_gateway(settings={"drain_timeout_secs": 0.1}).start()
    app = gateway.app()
    calls = dict(begun(app, pool, as_run=as_run) for as_run in (False, True))
    asked = {session_id: until_asked(app, session_id, 2) for session_id in calls}
    if stop == "SIGTERM":
        assert gateway.stop() == 0
        assert [each.result().problem() for each in calls.values()] == [(502, "interrupted")] * 2
    else:
        gateway.kill()
        assert all(each.exception() is not None for each in calls.values())
    gateway.start()
    app = Forge(base_url=gateway.url, token=app._config.token)
    by = {"SIGTERM": "cancel"}.get(stop, "interrupted")
    for session_id, requests in asked.items():
        check_dropped(app, Ledger(gateway.data_dir), session_id, requests, by=by)
    ledger.check(Ledger(gateway.data_dir), "app", gateway.agent_log)
    app.close()


def begun(app: Forge, pool: ThreadPoolExecutor, *, as_run: bool) -> tuple[str, Future[Answer]]:
    """The id of a session or run whose agent asks, and the call that waits for its end."""
    if not as_run:
        session = app.create_session(agent="fake", permissions="ask")
        return session.session_id, pool.submit(turn, app, session, ASKS)
    body = {"agent": "fake", "permissions": "ask", "prompt": ASKS}
    call = pool.submit(ask, app, "POST", "/run", body)
    until(lambda: ask(app, "GET", "/runs").body["count"] > 0, "the run to be there")
    return ask(app, "GET", "/runs").body["runs"][0]["run_id"], call


def test_what_was_answered_before_the_gateway_died_stays_answered(
    new_gateway: NewGateway, pool: ThreadPoolExecutor
) -> None:
    gateway = new_gateway().start()
    app = gateway.app()
    session_id, running = begun(app, pool, as_run=False)
    first, second = until_asked(app, session_id, 2)
    given = reply(app, session_id, first["permission_id"], decision="allow")
    gateway.kill()
    assert running.exception() is not None
    gateway.start()
    app = Forge(base_url=gateway.url, token=app._config.token)
    late = reply(app, session_id, first["permission_id"], decision="reject")
    assert (late.problem(), late.body["by"]) == ((409, "permission_answered"), given.body["by"])
    lost = reply(app, session_id, second["permission_id"], decision="reject")
    assert (lost.problem(), lost.body["by"]) == ((409, "permission_answered"), "interrupted")
    app.close()


# --- too much ----------------------------------------------------------------------------------------------


def test_of_ten_thousand_requests_as_many_wait_as_may_and_the_others_are_rejected_at_once(
    app: Forge, gateway: Gateway, db: Ledger, pool: ThreadPoolExecutor
) -> None:
    session = app.create_session(agent="fake", permissions="ask")
    before = gateway.forget_peak()
    running = pool.submit(turn, app, session, "[[ASKS 10000 edit]]")
    until(lambda: len(refused(db, session)) == 10_000 - WAITING_LIMIT, "all others to be rejected", within_s=60)
    asked = waiting(app, session.session_id)
    assert len(asked) == WAITING_LIMIT
    for each in asked:
        assert reply(app, session.session_id, each["permission_id"], decision="allow").status == 200
    events = running.result().body["events"]
    assert gateway.peak_bytes() - before < 128 * MIB
    given = [each for each in events if each["type"] == "permission_answer"]
    at_once = [each for each in given if each["by"] == "policy:ask"]
    assert (len(given), len(at_once)) == (10_000, 10_000 - WAITING_LIMIT)
    assert {(each["decision"], each["option_id"]) for each in at_once} == {("reject", "option-2")}
    assert all("wait" in each["reason"] for each in at_once)
    heard = [each["optionId"] for each in outcomes(events[-1]["content"])]
    assert (heard.count("option-1"), heard.count("option-2")) == (WAITING_LIMIT, 10_000 - WAITING_LIMIT)


GREEDY = """
import json, sys
def say(**message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\\n")
    sys.stdout.flush()
def hear():
    return json.loads(sys.stdin.readline())
say(id=hear()["id"], result={"protocolVersion": 1})
say(id=hear()["id"], result={"sessionId": "s"})
prompt = hear()
"""
HUGE = """
huge = "x" * 1_000_000
options = [{"optionId": f"{number}{huge}", "name": huge, "kind": "allow_once"} for number in range(3)]
options += [{"optionId": str(number), "name": "n", "kind": "reject_once"} for number in range(500)]
call = {"toolCallId": huge, "kind": huge, "title": huge}
say(id="ask", method="session/request_permission", params={"toolCall": call, "options": options})
chosen = hear()["result"]["outcome"]["optionId"]
say(id=prompt["id"], result={"stopReason": "end_turn" if chosen == options[1]["optionId"] else "refusal"})
sys.stdin.read()
"""


def test_a_request_of_megabytes_is_told_in_short_and_can_be_answered(
    new_gateway: NewGateway, pool: ThreadPoolExecutor
) -> None:
    gateway = new_gateway(agents={"greedy": agents.python(GREEDY + HUGE)}).start()
    with gateway.app() as app, app.session(agent="greedy", permissions="ask") as session:
        running = pool.submit(turn, app, session, "go")
        (asked,) = until_asked(app, session.session_id)
        assert len(json.dumps(asked)) < 32 * 1024
        assert (len(asked["options"]), len(asked["title"])) == (50, 8000)
        chosen = asked["options"][1]["option_id"]
        assert chosen.startswith("1x") and chosen.endswith("…")
        answer = reply(app, session.session_id, asked["permission_id"], option_id=chosen)
        assert (answer.status, answer.body["option_id"]) == (200, chosen)
        assert running.result().body["stop_reason"] == "end_turn"


HOLDS = """
for number in range(4):
    say(id=number, method="fs/write_text_file", params={"path": f"{number}.txt", "content": "x" * 12_000_000})
answers = [hear() for _ in range(4)]
written = sorted(each["id"] for each in answers if "result" in each)
content = {"type": "text", "text": json.dumps(written)}
update = {"sessionUpdate": "agent_message_chunk", "content": content}
say(method="session/update", params={"sessionId": "s", "update": update})
say(id=prompt["id"], result={"stopReason": "end_turn"})
sys.stdin.read()
"""


def test_requests_that_hold_too_much_together_do_not_all_wait(
    new_gateway: NewGateway, pool: ThreadPoolExecutor
) -> None:
    gateway = new_gateway(agents={"greedy": agents.python(GREEDY + HOLDS)}).start()
    with gateway.app() as app, app.session(agent="greedy", permissions="ask") as session:
        running = pool.submit(turn, app, session, "go")
        db = Ledger(gateway.data_dir)
        until(lambda: len(refused(db, session)) == 2, "two of the requests to be rejected")
        for each in until_asked(app, session.session_id, 2):
            reply(app, session.session_id, each["permission_id"], decision="allow")
        answer = running.result().body
        assert json.loads(answer["events"][-1]["content"]) == [0, 1]
        assert Path(session.cwd, "1.txt").stat().st_size == 12_000_000


def refused(log: Ledger, session: Session) -> list[Any]:
    """The requests of a session that were not put to the app."""
    return log.rows(
        "SELECT seq FROM events JOIN sessions USING (session_key)"
        " WHERE session_id = ? AND type = 'permission_answer' AND json_extract(data, '$.reason') IS NOT NULL",
        session.session_id,
    )


def test_the_gateway_s_own_policy_may_be_to_ask_and_its_time_counts(new_gateway: NewGateway) -> None:
    settings = {"default_permissions": "ask", "permission_timeout_secs": 0.3}
    gateway = new_gateway(settings=settings).start()
    with gateway.app() as app:
        assert app.create_session(agent="fake").state()["permissions"] == "ask"
        answer = ask(app, "POST", "/run", {"agent": "fake", "prompt": "[[ASK edit a.txt]]"})
        events = streams.page(app, answer.body["run_id"]).body["events"]
        assert questions_and_answers(events)[1] == ("answer", "reject", "expiry")
