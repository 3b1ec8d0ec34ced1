"""A turn that takes its time: gates, streams that follow it, cancels, deadlines, queues, permissions."""

from __future__ import annotations

import json
import threading
from contextlib import closing
from typing import Any

import pytest

from clawdforge.testing import FakeGateway, Prompt, ask, hang, text
from clawdforge.wire.sse import HEARTBEAT, MEDIA_TYPE, Decoder
from harness.caller import Caller


@pytest.fixture
def other(gateway: FakeGateway) -> Any:
    """A second connection: the first one waits for its answer."""
    with closing(Caller(gateway.url, gateway.token)) as caller:
        yield caller


def test_a_stream_tells_what_comes_while_it_comes(gateway: FakeGateway, call: Caller) -> None:
    session, gate = call.session(), gateway.gate()
    gateway.answers("first", gate, "second")
    call.send("POST", f"{session}/turn", {"prompt": "x"}, Accept=MEDIA_TYPE)
    response = call.connection.getresponse()
    decoder, seen = Decoder(), []
    while data := response.read1(65536):
        seen += [json.loads(each.data) for each in decoder.feed(data)]
        if seen[-1]["type"] == "text":
            gate.open()
    assert [each.get("content") for each in seen] == [None, "first", "second", None]


def test_a_stream_of_a_session_follows_it_to_its_close(gateway: FakeGateway, call: Caller, other: Caller) -> None:
    session = call.session()
    call.send("GET", f"{session}/events", Accept=MEDIA_TYPE, Last_Event_ID="1")
    other.turn(session)
    other("DELETE", session)
    types = [each["type"] for each in call.receive().events()]
    assert types == ["turn_start", "text", "turn_end", "session_closed"]


def test_a_quiet_stream_shows_that_it_lives() -> None:
    with FakeGateway(heartbeat_s=0.01) as gateway, closing(Caller(gateway.url, gateway.token)) as call:
        session, gate = call.session(), gateway.gate()
        gateway.answers(gate)
        call.send("POST", f"{session}/turn", {"prompt": "x"}, Accept=MEDIA_TYPE)
        response = call.connection.getresponse()
        raw = b""
        while raw.count(b"\n" + HEARTBEAT) < 3:
            raw += response.read1(65536)
        gate.open()
        raw += response.read()
        assert b"event: turn_end" in raw


def test_a_page_is_waited_for(gateway: FakeGateway, call: Caller, other: Caller) -> None:
    session, gate = call.session(), gateway.gate()
    gateway.answers(gate, "late")
    other("POST", f"{session}/turn", {"prompt": "x"}, Prefer="respond-async")
    call.send("GET", f"{session}/events?after=2&wait=20")
    gate.open()
    assert call.receive().body["events"][0]["content"] == "late"
    assert call("GET", f"{session}/events?after=99&wait=0").body == {"ok": True, "events": [], "next_after": 99}


def test_a_turn_is_cancelled(gateway: FakeGateway, call: Caller, other: Caller) -> None:
    session = call.session()
    hanging = hang()
    gateway.answers("so far", hanging, "never")
    call.send("POST", f"{session}/turn", {"prompt": "x"})
    hanging.reached()
    assert other("POST", f"{session}/cancel").body == {"ok": True, "cancelled": True, "turn_index": 1}
    answer = call.receive().body
    assert (answer["stop_reason"], answer["ok"]) == ("cancelled", False)
    assert [each["content"] for each in answer["events"]] == ["so far"]
    assert other("POST", f"{session}/cancel").body["cancelled"] is False
    assert call.turn(session).body["ok"] is True


def test_a_turn_runs_out_of_time(gateway: FakeGateway, call: Caller, other: Caller) -> None:
    deadlines = {"total": (call, "timeout_secs"), "idle": (other, "idle_timeout_secs")}
    for caller, deadline in deadlines.values():
        gateway.answers("so far", hang())
        caller.send("POST", f"{caller.session()}/turn", {"prompt": "x", deadline: 1})
    for phase, (caller, _) in deadlines.items():
        failed = caller.receive()
        assert failed.problem() == (504, "timeout")
        assert failed.body["phase"] == phase
        assert [each["content"] for each in failed.body["events"]] == ["so far"]


def test_a_second_prompt_is_refused_or_waits(gateway: FakeGateway, call: Caller, other: Caller) -> None:
    session, gate = call.session(), gateway.gate()
    gateway.answers(gate, "one")
    other("POST", f"{session}/turn", {"prompt": "x"}, Prefer="respond-async")
    assert other.turn(session).problem() == (409, "turn_in_progress")
    call.send("POST", f"{session}/turn", {"prompt": "y", "delivery": "queue"})
    gateway.wait_for_prompt(2)
    assert other("GET", f"{session}/turns/2").body["status"] == "queued"
    gate.open()
    assert call.receive().body["events"][0]["content"] == "turn 2: y"
    types = [each["type"] for each in call("GET", f"{session}/events?after=1").body["events"]]
    assert types == ["turn_start", "turn_queued", "text", "turn_end", "turn_start", "text", "turn_end"]


def test_equal_posts_at_once_are_one_turn(gateway: FakeGateway, call: Caller, other: Caller) -> None:
    gate = gateway.gate()
    gateway.answers(gate, "once")
    session = call.session()
    for each in (call, other):
        each.send("POST", f"{session}/turn", {"prompt": "x"}, Idempotency_Key="k")
    gateway.wait_for_prompt()
    gate.open()
    answers = {each.receive().raw for each in (call, other)}
    assert len(answers) == len(gateway.prompts) == 1


def test_the_app_is_asked_and_its_answer_comes_back(gateway: FakeGateway, call: Caller, other: Caller) -> None:
    heard: list[str] = []

    @gateway.on_prompt
    def careful(prompt: Prompt) -> Any:
        heard.append((yield ask("rm -rf build", kind="execute")))
        yield text(heard[-1])

    session = call.session(permissions="ask")
    for decision in ("allow", "allow_always", "reject"):
        call.send("POST", f"{session}/turn", {"prompt": "x"}, Accept=MEDIA_TYPE)
        response = call.connection.getresponse()
        decoder, request = Decoder(), None
        while request is None:
            found = [json.loads(each.data) for each in decoder.feed(response.read1(65536))]
            request = next((each for each in found if each["type"] == "permission_request"), None)
        waiting = other("GET", f"{session}/permissions").body["permissions"]
        assert [each["permission_id"] for each in waiting] == [request["permission_id"]]
        place = f"{session}/permissions/{request['permission_id']}"
        answered = other("POST", place, {"decision": decision}).body
        assert (answered["decision"], answered["by"]) == (decision, "app:app")
        assert other("POST", place, {"decision": decision}).problem() == (409, "permission_answered")
        assert b"event: turn_end" in response.read()
    assert heard == ["allow", "allow_always", "reject"]


def test_a_request_that_nobody_answers_expires_or_ends_with_its_turn(
    gateway: FakeGateway, call: Caller, other: Caller
) -> None:
    session = call.session(permissions="ask")
    gateway.answers(ask("rm"), "on")
    answer = call.turn(session, permission_timeout_secs=1).body
    given = [each for each in answer["events"] if each["type"] == "permission_answer"]
    assert [(each["decision"], each["by"]) for each in given] == [("reject", "expiry")]
    gateway.answers(ask("rm"), "never")
    call.send("POST", f"{session}/turn", {"prompt": "x"})
    other.until(session, "permission_request", turn_index=2)
    other("POST", f"{session}/cancel")
    given = [each for each in call.receive().body["events"] if each["type"] == "permission_answer"]
    assert [(each["decision"], each["by"]) for each in given] == [("cancelled", "cancel")]


def test_a_generator_of_a_turn_that_is_cancelled_is_closed(
    gateway: FakeGateway, call: Caller, other: Caller
) -> None:
    hanging, closed = hang(), threading.Event()

    @gateway.on_prompt
    def tidy(prompt: Prompt) -> Any:
        try:
            yield hanging
        finally:
            closed.set()

    session = call.session()
    call.send("POST", f"{session}/turn", {"prompt": "x"})
    hanging.reached()
    other("POST", f"{session}/cancel")
    assert call.receive().body["stop_reason"] == "cancelled" and closed.is_set()


def test_two_turns_of_two_sessions_run_at_once(gateway: FakeGateway, call: Caller, other: Caller) -> None:
    meeting = threading.Barrier(2, timeout=20)

    @gateway.on_prompt
    def meet(prompt: Prompt) -> str:
        meeting.wait()
        return "met"

    for each in (call, other):
        each.send("POST", f"{each.session()}/turn", {"prompt": "x"})
    assert [each.receive().status for each in (call, other)] == [200, 200]
