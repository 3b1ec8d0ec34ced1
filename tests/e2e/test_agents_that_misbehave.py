"""Agents that misbehave in a turn: what they say and how they end. The session lives on, nobody else notices."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from clawdforge import Forge
from clawdforge.client.session import Session
from harness import agents
from harness.gateway import Gateway, until
from harness.http import Answer, ask
from harness.ledger import Ledger

MIB = 1024 * 1024


def turn(app: Forge, session: Session, prompt: str, **options: Any) -> Answer:
    return ask(app, "POST", f"/sessions/{session.session_id}/turn", {"prompt": prompt, **options})


def test_log_lines_and_other_noise_on_stdout_are_passed_over(app: Forge) -> None:
    session = app.create_session(agent="fake")
    assert session.turn("[[SAY a]][[GARBAGE]][[SAY b]]").text() == "ab"


def test_a_character_cut_in_two_by_the_pipe_arrives_whole(app: Forge) -> None:
    assert app.create_session(agent="fake").turn("[[SPLIT]]").text() == "split: €"


def test_a_last_line_without_its_newline_is_heard(app: Forge, db: Ledger) -> None:
    session = app.create_session(agent="fake")
    assert turn(app, session, "[[NO_NEWLINE]]").problem() == (502, "agent_failed")
    texts = [event["data"]["content"] for event in db.events(session.session_id) if event["type"] == "text"]
    assert texts == ["unfinished"]


def test_text_that_no_database_can_hold_is_mended(app: Forge) -> None:
    assert app.create_session(agent="fake").turn("[[NUL]]").text() == "nul:\ufffd surrogate:\ufffd"


def test_strays_unknown_ids_and_string_ids_confuse_nobody(app: Forge) -> None:
    session = app.create_session(agent="fake")
    assert session.turn("[[STRAY]]").text() == "string id answered: True"
    assert session.turn("next").text() == "turn 2: next"


def test_a_prompt_answered_twice_ends_one_turn(app: Forge) -> None:
    session = app.create_session(agent="fake")
    assert session.turn("[[SAY once]][[TWICE]]").text() == "once"
    assert session.turn("next").text() == "turn 2: next"


def test_what_is_said_after_the_end_belongs_to_no_turn(app: Forge, db: Ledger) -> None:
    session = app.create_session(agent="fake")
    assert session.turn("[[SAY in time]][[LATE too late]]").text() == "in time"
    assert session.turn("next").text() == "turn 2: next"
    late = next(event for event in db.events(session.session_id) if event["data"].get("content") == "too late")
    assert late["turn_index"] is None


def test_updates_of_unknown_kinds_are_kept_whole(app: Forge, db: Ledger) -> None:
    session = app.create_session(agent="fake")
    session.turn("[[UNKNOWN]][[SAY x]]")
    [other] = [event for event in db.events(session.session_id) if event["type"] == "other"]
    assert other["data"]["acp"] == {"sessionUpdate": "brand_new_update", "novelty": {"level": 11}}


def test_a_line_over_the_limit_ends_the_turn_and_not_the_session(strict_app: Forge) -> None:
    session = strict_app.create_session(agent="fake")
    session.turn("before")
    found = turn(strict_app, session, "[[SAY before]][[BIGLINE 20002]]")
    assert found.problem() == (502, "agent_failed")
    assert "more than 20000 bytes" in found.body["detail"]
    assert session.turn("after").text() == "turn 1: after"


def test_a_line_as_long_as_the_limit_is_heard(strict_app: Forge) -> None:
    session = strict_app.create_session(agent="fake")
    assert len(session.turn("[[BIGLINE 20001]]").text()) > 19_000


def test_a_line_of_100_megabytes_does_not_fill_the_memory(app: Forge, gateway: Gateway) -> None:
    session = app.create_session(agent="fake")
    before = gateway.forget_peak()
    found = turn(app, session, "[[BIGLINE 100000000]]")
    assert found.problem() == (502, "agent_failed")
    assert "more than 33554432 bytes" in found.body["detail"]
    assert gateway.peak_bytes() - before < 32 * MIB + 64 * MIB
    assert session.turn("next").text() == "turn 1: next"


def test_a_flood_of_requests_is_answered_one_by_one(app: Forge) -> None:
    assert app.create_session(agent="fake").turn("[[REQUESTS 1000]]").text() == "answered 1000 errors 1000"


def test_a_flood_of_updates_loses_none(app: Forge, db: Ledger) -> None:
    session = app.create_session(agent="fake")
    expected = "".join(f"{number} " for number in range(50_000))
    answer = session.turn("[[FLOOD 50000]]")
    assert answer.text() == expected
    stored = (event["data"]["content"] for event in db.events(session.session_id) if event["type"] == "text")
    assert "".join(stored) == expected


def test_a_flood_before_an_exit_loses_none(app: Forge, db: Ledger) -> None:
    session = app.create_session(agent="fake")
    assert turn(app, session, "[[FLOOD 20000]][[EXIT 4]]").problem() == (502, "agent_failed")
    stored = (event["data"]["content"] for event in db.events(session.session_id) if event["type"] == "text")
    assert "".join(stored) == "".join(f"{number} " for number in range(20_000))


def test_a_flood_on_stderr_is_drained(app: Forge) -> None:
    session = app.create_session(agent="fake")
    assert session.turn("[[STDERR 20000000]][[SAY done]]").text() == "done"


def test_an_agent_that_does_not_read_gets_ten_megabytes_in_the_end(app: Forge) -> None:
    found = app.run(f"[[NO_READ 0.5]][[SAY done]]{'x' * 10_000_000}", agent="fake")
    assert found.result == "done"


NEVER_READS_A_PROMPT = """
import json, sys, time
for line in sys.stdin:
    message = json.loads(line)
    result = {"protocolVersion": 1} if message["method"] == "initialize" else {"sessionId": "s"}
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
    if message["method"] == "session/new":
        time.sleep(300)
"""


def test_an_agent_that_never_reads_ends_by_the_clock_and_others_go_on(new_gateway: agents.NewGateway) -> None:
    gateway = new_gateway()
    gateway.agents = {"deaf": agents.python(NEVER_READS_A_PROMPT)}
    gateway.start()
    with gateway.app() as app, ThreadPoolExecutor(1) as pool:
        deaf, other = app.create_session(agent="deaf"), app.create_session(agent="fake")
        waiting = pool.submit(turn, app, deaf, "x" * 10_000_000, timeout_secs=1)
        assert other.turn("hi").text() == "turn 1: hi"
        assert waiting.result().problem() == (504, "timeout")
        assert deaf.state()["live"] is True


def test_an_agent_that_ignores_cancel_is_ended_at_the_deadline(app: Forge) -> None:
    session = app.create_session(agent="fake")
    session.turn("before")
    found = turn(app, session, "[[IGNORE_CANCEL]][[HANG]]", timeout_secs=1)
    assert found.problem() == (504, "timeout")
    assert session.turn("after").text() == "turn 1: after"


@pytest.mark.parametrize("deafness", ["[[IGNORE_SIGTERM]][[IGNORE_EOF]]", "[[IGNORE_EOF]]", "[[IGNORE_SIGTERM]]"])
def test_an_agent_that_will_not_leave_is_ended_with_its_session(
    app: Forge, gateway: Gateway, deafness: str
) -> None:
    session = app.create_session(agent="fake")
    session.turn(f"{deafness}[[SAY x]]")
    session.close()
    assert gateway.children() == []


def test_an_agent_that_dies_between_turns_is_replaced_at_the_next(app: Forge, gateway: Gateway) -> None:
    session = app.create_session(agent="fake", permissions="allow")
    session.turn("[[SH (sleep 0.1; kill -9 $PPID) >/dev/null 2>&1 & ]]")
    until(lambda: gateway.children(session) == [], "the gateway to see that the agent is gone")
    assert session.turn("back").text() == "turn 1: back"


TROUBLES = {
    "noise and floods": "[[FLOOD 20000]][[STDERR 5000000]][[GARBAGE]][[REQUESTS 200]][[IGNORE_CANCEL]][[HANG]]",
    "processes": "[[FORKS 100]][[RESPAWN 50]][[DAEMON]][[IGNORE_CANCEL]][[IGNORE_SIGTERM]][[HANG]]",
    "size": "[[MEMORY 200000000]][[BIGTEXT 10000000]][[BIGLINE 100000000]]",
}


@pytest.mark.guarantee
@pytest.mark.parametrize("trouble", TROUBLES)
def test_twenty_healthy_sessions_are_answered_beside_a_misbehaving_one(
    app: Forge, pool: ThreadPoolExecutor, trouble: str
) -> None:
    troubled = app.create_session(agent="fake")
    ends_badly = pool.submit(turn, app, troubled, TROUBLES[trouble], timeout_secs=3)
    sessions = list(pool.map(lambda _: app.create_session(agent="fake"), range(20)))
    for number in (1, 2, 3):
        answers = list(pool.map(lambda session: session.turn("well?").text(), sessions))
        assert answers == [f"turn {number}: well?"] * 20
    assert ends_badly.result().problem() in [(504, "timeout"), (502, "agent_failed")]
    list(pool.map(lambda session: session.close(), sessions))
    assert troubled.turn("better?").text() == "turn 1: better?"
