"""Turns and runs that nobody waits for: accepted, found again, followed, cancelled."""

from __future__ import annotations

import json
import socket
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import pytest

from clawdforge import Forge
from harness import prompts
from harness.agents import NewGateway
from harness.gateway import Gateway, until
from harness.http import Answer, ask, call
from harness.prompts import accepted, ended, record, run_later, text, turn_later
from harness.streams import Stream, page

Row = dict[str, Any]


@pytest.fixture
def session_id(app: Forge) -> str:
    return app.create_session(agent="fake").session_id


def located(app: Forge, answer: Answer) -> Row:
    """What lies where a 202 says."""
    found = ask(app, "GET", answer.headers["location"])
    assert found.status == 200, found.raw
    body: Row = found.body
    return body


# --- accepted -----------------------------------------------------------------------------------------------


@pytest.mark.guarantee
def test_a_turn_is_accepted_before_it_ends_and_found_where_the_answer_says(app: Forge, session_id: str) -> None:
    answer = turn_later(app, session_id, "[[SAY soon]] [[HANG]]")
    assert answer.body == {"ok": True, "session_id": session_id, "turn_index": 1, "status": "running"}
    assert answer.status == 202
    assert answer.headers["location"] == f"/sessions/{session_id}/turns/1"
    assert answer.headers["preference-applied"] == "respond-async"
    assert answer.headers["idempotency-supported"] == "true"
    assert located(app, answer)["status"] == "running"
    until(lambda: text(located(app, answer)["events"]) == "soon", "its first words")
    assert prompts.cancel(app, session_id).body["cancelled"] is True
    told = located(app, answer)
    assert (told["status"], told["stop_reason"], told["ok"]) == ("done", "cancelled", False)


@pytest.mark.guarantee
def test_its_record_ends_up_as_a_blocking_answer(app: Forge, session_id: str) -> None:
    prompt = "[[THINK hm]] [[TOOL look {}]] [[SAY done]] [[USAGE]]"
    told = ended(app, session_id, accepted(turn_later(app, session_id, prompt)))
    blocking = prompts.turn(app, session_id, prompt).body
    assert [event["type"] for event in told["events"]] == [event["type"] for event in blocking["events"]]
    assert {name for name in blocking if name not in ("turn_index", "duration_ms", "events")} <= told.keys() | {
        "ok"
    }
    for name in ("ok", "session_id", "stop_reason", "empty", "usage", "model"):
        assert told[name] == blocking[name]


def test_a_run_is_accepted_and_found_by_its_id(app: Forge) -> None:
    answer = run_later(app, '[[SAY {"a": 1}]] [[SLEEP 0.2]]')
    run_id = answer.body["run_id"]
    assert answer.body == {
        **{"ok": True, "run_id": run_id, "session_id": run_id},
        **{"turn_index": 1, "status": "running"},
    }
    assert (answer.status, answer.headers["location"]) == (202, f"/runs/{run_id}")
    assert located(app, answer)["status"] == "running"
    until(lambda: located(app, answer)["status"] == "done", "the run to end")
    told = located(app, answer)
    assert (told["result"], told["ok"], told["stop_reason"]) == ({"a": 1}, True, "end_turn")


def test_a_run_s_id_is_a_session_s_where_its_events_and_its_turn_are_read(app: Forge) -> None:
    run_id = run_later(app, "[[SAY soon]] [[HANG]]").body["run_id"]
    with Stream(app, run_id) as stream:
        assert text(stream.until("text")) == "soon"
        assert record(app, run_id, 1)["status"] == "running"
        assert prompts.cancel(app, run_id).body == {"ok": True, "cancelled": True, "turn_index": 1}
        assert [event["type"] for event in stream.events()] == ["turn_end", "session_closed"]
    assert prompts.statuses(app, run_id) == [("done", "cancelled")]
    assert ask(app, "GET", f"/runs/{run_id}").body["stop_reason"] == "cancelled"
    # It is no session to be prompted, looked at or closed.
    assert prompts.turn(app, run_id, "hi").problem() == (404, "not_found")
    assert ask(app, "GET", f"/sessions/{run_id}").problem() == (404, "not_found")


@pytest.mark.parametrize(
    "preference", ["respond-async", "Respond-Async", "wait=5, respond-async", "respond-async; x=1"]
)
def test_the_preference_is_read_as_http_has_it(app: Forge, session_id: str, preference: str) -> None:
    path, body = f"/sessions/{session_id}/turn", {"prompt": "hi"}
    answer = ask(app, "POST", path, body, {"Prefer": preference})
    assert ended(app, session_id, accepted(answer))["stop_reason"] == "end_turn"


@pytest.mark.parametrize("preference", ["", "respond", "respond-async-not", "return=minimal"])
def test_other_preferences_are_passed_over(app: Forge, session_id: str, preference: str) -> None:
    path, body = f"/sessions/{session_id}/turn", {"prompt": "hi"}
    answer = ask(app, "POST", path, body, {"Prefer": preference})
    assert (answer.status, answer.body["stop_reason"]) == (200, "end_turn")
    assert "preference-applied" not in answer.headers


# --- followed -----------------------------------------------------------------------------------------------


def test_its_events_are_polled_as_they_come(app: Forge, session_id: str) -> None:
    accepted(turn_later(app, session_id, "[[RATE 40 100]]"))
    seen: list[Row] = []
    while not seen or seen[-1]["type"] != "turn_end":
        answer = page(app, session_id, f"?after={seen[-1]['seq'] if seen else 0}&wait=30").body
        assert answer["events"], "a poll that waits is answered by something"
        seen += answer["events"]
        assert answer["next_after"] == seen[-1]["seq"]
    assert [event["seq"] for event in seen] == list(range(1, len(seen) + 1))
    assert text(seen).split() == [str(number) for number in range(40)]


def test_a_failure_is_told_by_the_record(app: Forge, session_id: str) -> None:
    told = ended(app, session_id, accepted(turn_later(app, session_id, "[[SAY a]] [[EXIT 3]]")))
    assert (told["status"], told["stop_reason"], told["ok"]) == ("failed", "agent_failed", False)
    assert (told["error"]["code"], told["extra"]["exit_code"]) == ("agent_failed", 3)
    assert text(told["events"]) == "a"
    assert prompts.turn(app, session_id, "next").status == 200


def test_an_agent_that_does_not_start_is_told_by_the_run_s_record(app: Forge) -> None:
    answer = run_later(app, "hi", agent="fake-exit1")
    assert answer.status == 202
    until(lambda: located(app, answer)["status"] == "failed", "the run to fail")
    told = located(app, answer)
    assert (told["stop_reason"], told["error"]["code"]) == ("agent_failed", "agent_failed")


# --- refused ------------------------------------------------------------------------------------------------


def test_what_is_refused_is_refused_at_once(app: Forge, gateway: Gateway, session_id: str) -> None:
    assert turn_later(app, session_id, "hi", files=["ff_none"]).problem() == (404, "not_found")
    assert turn_later(app, session_id, "").problem() == (422, "invalid")
    assert run_later(app, "hi", agent="nobody").problem() == (422, "invalid")
    assert run_later(app, "hi", agent="absent").problem() == (503, "agent_unavailable")
    accepted(turn_later(app, session_id, "[[HANG]]"))
    assert turn_later(app, session_id, "two").problem() == (409, "turn_in_progress")
    with gateway.app(f"stranger-{uuid.uuid4().hex}") as stranger:
        assert turn_later(stranger, session_id, "three").problem() == (404, "not_found")
    app.attach_session(session_id).close()
    assert turn_later(app, session_id, "four").problem() == (410, "session_closed")
    assert prompts.statuses(app, session_id) == [("done", "cancelled")]


def test_a_stream_that_is_asked_for_as_well_is_what_comes(app: Forge, session_id: str) -> None:
    path, body = f"/sessions/{session_id}/turn", {"prompt": "hi"}
    with Stream(app, post=path, body=body, headers=prompts.DETACHED) as stream:
        assert stream.response.status == 200
        assert [*stream.events()][-1]["type"] == "turn_end"


# --- time ---------------------------------------------------------------------------------------------------


@pytest.mark.guarantee
def test_they_have_no_total_deadline_unless_they_name_one(
    new_gateway: NewGateway, pool: ThreadPoolExecutor
) -> None:
    gateway = new_gateway(settings={"turn_timeout_secs": 1}).start()
    prompt = "[[SLEEP 1.5]] [[SAY after all]]"
    with gateway.app() as app:
        one, two, three, four = (app.create_session(agent="fake").session_id for _ in range(4))
        blocking = pool.submit(prompts.turn, app, one, prompt)
        streamed = prompts.turn_streamed(app, two, prompt)
        later, bounded = turn_later(app, three, prompt), turn_later(app, four, prompt, timeout_secs=1)
        run, run_bounded = run_later(app, prompt), run_later(app, prompt, timeout_secs=1)
        assert text([*streamed.events()]) == "after all"
        streamed.close()
        assert blocking.result().problem() == (504, "timeout")
        assert ended(app, three, accepted(later))["stop_reason"] == "end_turn"
        assert ended(app, four, accepted(bounded))["extra"] == {"phase": "total"}
        until(lambda: located(app, run)["status"] == "done", "the run to end")
        until(lambda: located(app, run_bounded)["status"] == "failed", "the bounded run to end")
        assert located(app, run_bounded)["stop_reason"] == "timeout"
    assert gateway.stop() == 0


# --- a client that goes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["Prefer: respond-async\r\n", ""])
def test_a_client_that_hangs_up_before_any_answer_has_asked_all_the_same(
    app: Forge, session_id: str, head: str
) -> None:
    parts = urlsplit(app.base_url)
    body = json.dumps({"prompt": "[[SLEEP 0.1]] [[SAY done]]"}).encode()
    request = (
        f"POST /sessions/{session_id}/turn HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {app._config.token}\r\n"
        f"Content-Type: application/json\r\n{head}Content-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=30) as connection:
        connection.sendall(request.encode() + body)
    until(lambda: prompts.statuses(app, session_id) != [], "the turn to be accepted")
    assert text(ended(app, session_id, 1)["events"]) == "done"


def test_it_goes_on_where_the_gateway_s_drain_lets_it(new_gateway: NewGateway) -> None:
    gateway = new_gateway(settings={"drain_timeout_secs": 30}).start()
    with gateway.app() as app:
        session_id = app.create_session(agent="fake").session_id
        accepted(turn_later(app, session_id, "[[SAY begun]] [[SLEEP 0.5]] [[SAY ended]]"))
        gateway.until_heard("begun")
        token = app._config.token
        assert gateway.stop() == 0
    gateway.start()
    told = call(gateway.url, "GET", f"/sessions/{session_id}/turns/1", token=token).body
    assert (told["status"], text(told["events"])) == ("done", "begunended")
    assert gateway.stop() == 0
