"""Prompts to a fake gateway: what they are answered with, in each form, and once for each key."""

from __future__ import annotations

from typing import Any

import pytest

from clawdforge.testing import FakeGateway, Prompt, ask, event, fail, plan, stop, text, thinking, tool_call, write
from clawdforge.wire.problems import STATUS
from harness.caller import Caller


def test_a_prompt_that_nobody_scripted_is_echoed(gateway: FakeGateway, call: Caller) -> None:
    session = call.session()
    first, second = call.turn(session, "hello"), call.turn(session, "again")
    assert [each["content"] for each in first.body["events"]] == ["turn 1: hello"]
    assert [each["content"] for each in second.body["events"]] == ["turn 2: again"]
    assert call("POST", "/run", {"prompt": "x"}).body["result"] == "turn 1: x"
    assert [each.text for each in gateway.prompts] == ["hello", "again", "x"]


def test_parts_are_texts_steps_and_values(gateway: FakeGateway, call: Caller) -> None:
    gateway.answers(thinking("hm"), tool_call("Read", {"path": "a"}, "text"), plan("look"), "Hel", text("lo"))
    answer = call.turn(call.session()).body
    assert [each["type"] for each in answer["events"]] == ["thinking", "tool_call", "plan", "text"]
    assert answer["events"][-1]["content"] == "Hello"
    assert answer["ok"] is True and answer["stop_reason"] == "end_turn"
    gateway.answers({"colours": ["red"]})
    assert call("POST", "/run", {"prompt": "x"}).body["result"] == {"colours": ["red"]}


def test_a_streamed_turn_is_its_events_from_start_to_end(gateway: FakeGateway, call: Caller) -> None:
    session = call.session()
    gateway.answers("a", event("weather", sky="blue"), "b")
    streamed = call.streamed(session)
    assert [each["type"] for each in streamed] == ["turn_start", "text", "weather", "text", "turn_end"]
    assert [each["seq"] for each in streamed] == list(range(2, 7))
    page = call("GET", f"{session}/events?after=1").body
    assert page["events"] == streamed and page["next_after"] == 6


def test_no_parts_are_an_empty_answer(gateway: FakeGateway, call: Caller) -> None:
    gateway.answers()
    answer = call.turn(call.session()).body
    assert answer["ok"] is False and answer["empty"] is True and answer["events"] == []


@pytest.mark.parametrize(
    ("reason", "ok"),
    [
        ("end_turn", True),
        ("max_tokens", True),
        ("max_turn_requests", True),
        ("refusal", False),
        ("cancelled", False),
    ],
)
def test_a_turn_ends_as_it_is_told(gateway: FakeGateway, call: Caller, reason: str, ok: bool) -> None:
    gateway.answers("x", stop_reason=reason)
    gateway.answers("x", stop(reason), "never said")
    session = call.session()
    for _ in range(2):
        answer = call.turn(session).body
        assert (answer["stop_reason"], answer["ok"]) == (reason, ok)
        assert [each["content"] for each in answer["events"]] == ["x"]


@pytest.mark.parametrize("code", ["agent_failed", "timeout", "interrupted", "budget_exceeded"])
def test_a_turn_fails_as_it_is_told(gateway: FakeGateway, call: Caller, code: str) -> None:
    session = call.session()
    gateway.fails(code, "it crashed", after=[text("par"), "tial"], hint=7)
    failed = call.turn(session)
    assert failed.problem() == (STATUS[code], code)
    assert failed.body["detail"] == "it crashed" and failed.body["hint"] == 7
    assert (failed.body["turn_index"], failed.body["stop_reason"]) == (1, code)
    record = call("GET", f"{session}/turns/1").body
    assert record["status"] == "failed" and record["error"] == {"code": code, "detail": "it crashed"}
    assert [each["content"] for each in record["events"]] == ["partial"]
    assert record["extra"]["hint"] == 7
    assert [each["type"] for each in call.streamed(session)][-1] == "turn_end"


def test_a_function_answers_all_that_have_no_answer_of_their_own(gateway: FakeGateway, call: Caller) -> None:
    @gateway.on_prompt
    def answer(prompt: Prompt) -> Any:
        return {"said": prompt.text} if prompt.is_run else f"{prompt.turn_index}: {prompt.text}"

    gateway.answers("first")
    session = call.session()
    said = [call.turn(session, each).body["events"][0]["content"] for each in "abc"]
    assert said == ["first", "2: b", "3: c"]
    assert call("POST", "/run", {"prompt": "d"}).body["result"] == {"said": "d"}
    gateway.on_prompt(lambda prompt: None)
    assert call("POST", "/run", {"prompt": "e"}).body["result"] == "turn 1: e"


def test_a_generator_hears_what_is_decided(gateway: FakeGateway, call: Caller) -> None:
    @gateway.on_prompt
    def careful(prompt: Prompt) -> Any:
        decision = yield ask("rm notes.txt", kind="delete")
        yield write("notes.txt", "kept") if decision == "reject" else "removed"
        yield f"it was a {decision}"

    for policy, decision in [("allow", "allow"), ("workspace", "allow"), ("reads", "reject"), ("deny", "reject")]:
        answer = call.turn(call.session(permissions=policy)).body
        assert answer["events"][-1]["content"].endswith(f"it was a {decision}")
        given = [each for each in answer["events"] if each["type"] == "permission_answer"]
        assert [(each["decision"], each["by"]) for each in given] == [(decision, f"policy:{policy}")]


def test_what_a_function_raises_ends_the_turn_and_says_why(gateway: FakeGateway, call: Caller) -> None:
    @gateway.on_prompt
    def broken(prompt: Prompt) -> Any:
        yield "so far"
        pytest.fail("this prompt should not have come")

    failed = call.turn(call.session())
    assert failed.problem() == (502, "agent_failed")
    assert "this prompt should not have come" in failed.body["detail"]


def test_what_a_function_says_wrong_ends_the_turn_too(gateway: FakeGateway, call: Caller) -> None:
    for wrong in (object(), event("thinking", content=3), event("x", y=object())):
        gateway.on_prompt(lambda _, wrong=wrong: wrong)
        assert call("POST", "/run", {"prompt": "x"}).problem() == (502, "agent_failed")


def test_an_agent_tells_its_usage_and_its_model(gateway: FakeGateway, call: Caller) -> None:
    gateway.answers("x", usage={"input_tokens": 3, "total_tokens": 5, "cost_usd": 0.5}, model="m-1")
    answer = call.turn(call.session()).body
    assert answer["model"] == "m-1" and answer["usage"]["source"] == "agent"
    (group,) = call("GET", "/usage?by=model").body["groups"]
    assert (group["key"], group["total_tokens"], group["cost_usd"], group["turns"]) == ("m-1", 5, 0.5, 1)


def test_what_cannot_be_said_fails_where_it_is_told(gateway: FakeGateway) -> None:
    with pytest.raises(TypeError):
        gateway.answers(object())
    with pytest.raises(TypeError):
        gateway.answers(event("x", y=object()))
    for part in (text(3), event("thinking"), event("tool_call_update", status="failed")):  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            gateway.answers(part)
    with pytest.raises(TypeError, match="tokens"):
        gateway.answers("x", usage={"tokens": 3})
    with pytest.raises(ValueError, match="seq"):
        event("x", seq=1)
    for path in ("", "/etc/passwd", "../x", "a//b"):
        with pytest.raises(ValueError, match="below the workspace"):
            write(path, "x")
    with pytest.raises(ValueError, match="agent_failed"):
        gateway.fails("rate_limited")
    with pytest.raises(ValueError, match="end_turn"):
        gateway.answers("x", stop_reason="agent_failed")
    with pytest.raises(ValueError, match="agent_failed"):
        fail("sad")
    with pytest.raises(ValueError, match="rate_limited"):
        gateway.refuses("sad")
    assert gateway.unused == 0


def test_the_same_key_is_answered_once(gateway: FakeGateway, call: Caller) -> None:
    session = call.session()
    body = {"prompt": "x"}
    gateway.answers("only once")
    first, second = (call("POST", f"{session}/turn", body, Idempotency_Key="k") for _ in range(2))
    assert first.raw == second.raw
    assert "idempotent-replayed" not in first.headers
    assert second.headers["idempotent-replayed"] == second.headers["idempotency-supported"] == "true"
    streamed = call("POST", f"{session}/turn", body, Idempotency_Key="k", Accept="text/event-stream")
    assert [each["type"] for each in streamed.events()] == ["turn_start", "text", "turn_end"]
    other = call("POST", f"{session}/turn", {"prompt": "y"}, Idempotency_Key="k")
    assert other.problem() == (409, "idempotency_mismatch")
    assert len(gateway.prompts) == 1


@pytest.mark.parametrize("path", ["/run", "/sessions"])
def test_a_key_counts_for_other_calls_too(call: Caller, path: str) -> None:
    body = {"prompt": "x"} if path == "/run" else {"meta": {"a": 1}}
    assert call("POST", path, body, Idempotency_Key="k").raw == call("POST", path, body, Idempotency_Key="k").raw


def test_a_turn_that_failed_is_replayed_too(gateway: FakeGateway, call: Caller) -> None:
    gateway.fails(detail="crash")
    first, second = (call("POST", "/run", {"prompt": "x"}, Idempotency_Key="k") for _ in range(2))
    assert first.problem() == second.problem() == (502, "agent_failed")
    assert second.headers["idempotent-replayed"] == "true"
    assert {**first.body, "request_id": ""} == {**second.body, "request_id": ""}


def test_an_old_gateway_knows_no_keys(gateway: FakeGateway, call: Caller) -> None:
    gateway.honours_keys = False
    for _ in range(2):
        answer = call("POST", "/run", {"prompt": "x"}, Idempotency_Key="k")
        assert answer.status == 200 and "idempotency-supported" not in answer.headers
    assert len(gateway.prompts) == 2 and gateway.honours_keys is False
