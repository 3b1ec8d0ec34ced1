"""What goes wrong on purpose: refusals, answers of others, connections that are cut; and what never may."""

from __future__ import annotations

import http.client
import os
import socket
import threading
from contextlib import closing
from typing import Any

import pytest

from clawdforge.testing import FakeGateway, Prompt, hang
from clawdforge.wire.problems import STATUS
from clawdforge.wire.sse import MEDIA_TYPE
from harness.caller import Caller
from harness.gateway import until

BROKEN = (http.client.HTTPException, OSError)


def test_a_prompt_is_refused_and_does_nothing(gateway: FakeGateway, call: Caller) -> None:
    gateway.refuses("rate_limited", "slowly", retry_after_s=3, times=2)
    session = call.session()
    for _ in range(2):
        refused = call.turn(session)
        assert refused.problem() == (429, "rate_limited")
        assert refused.headers["retry-after"] == "3" and refused.body["detail"] == "slowly"
    assert gateway.prompts == []
    assert call.turn(session).status == 200


@pytest.mark.parametrize("code", sorted(STATUS))
def test_every_code_of_the_contract_can_be_answered(gateway: FakeGateway, call: Caller, code: str) -> None:
    gateway.refuses(code, at="GET /usage")
    assert call("GET", "/sessions").status == 200
    assert call("GET", "/usage").problem() == (STATUS[code], code)
    assert call("GET", "/usage").status == 200


def test_a_place_is_a_method_and_a_path(gateway: FakeGateway) -> None:
    for nonsense in ("usage", "/usage", "get /usage", "GET usage"):
        with pytest.raises(ValueError, match="METHOD /path"):
            gateway.drops(at=nonsense)


def test_somebody_else_answers(gateway: FakeGateway, call: Caller) -> None:
    gateway.replies(502, "<h1>Bad Gateway</h1>", content_type="text/html", headers={"Via": "1.1 proxy"})
    answer = call("POST", "/run", {"prompt": "x"})
    assert (answer.status, answer.raw) == (502, b"<h1>Bad Gateway</h1>")
    assert answer.headers["via"] == "1.1 proxy" and "idempotency-supported" not in answer.headers
    assert gateway.prompts == []


@pytest.mark.parametrize("after_bytes", [0, 1, 100, None])
def test_an_answer_is_cut_and_its_turn_was_played(
    gateway: FakeGateway, call: Caller, after_bytes: int | None
) -> None:
    gateway.drops(after_bytes=after_bytes)
    with pytest.raises(BROKEN):
        call("POST", "/run", {"prompt": "x"}, Idempotency_Key="k")
    call.close()
    again = call("POST", "/run", {"prompt": "x"}, Idempotency_Key="k")
    assert again.headers["idempotent-replayed"] == "true" and again.body["result"] == "turn 1: x"
    assert len(gateway.prompts) == 1


@pytest.mark.parametrize("after_events", [0, 1, 2, 3])
def test_a_stream_is_cut_after_so_many_events(gateway: FakeGateway, call: Caller, after_events: int) -> None:
    session = call.session()
    gateway.drops(after_events=after_events)
    assert call.turn(session).status == 200  # no stream: it is not meant
    call.send("POST", f"{session}/turn", {"prompt": "x"}, Accept=MEDIA_TYPE)
    with pytest.raises(http.client.IncompleteRead) as broken:
        call.receive()
    assert broken.value.partial.count(b"\nevent: ") == after_events
    call.close()
    rest = f"{session}/events?after={4 + after_events}"
    until(lambda: len(call("GET", rest).body["events"]) == 3 - after_events, "its turn to go on to its end")


def test_what_no_script_foresaw_is_told_and_not_hidden(
    gateway: FakeGateway, call: Caller, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(gateway._state, "uploads", None)
    assert call("GET", "/files/ff_x").problem() == (500, "internal")
    assert "AttributeError" in caplog.text
    assert call("GET", "/agents").status == 200


# --- its life ------------------------------------------------------------------------------------------------


def test_it_leaves_no_thread_and_no_socket_wherever_its_clients_stand() -> None:
    threads, files = threading.active_count(), len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with FakeGateway() as gateway:
            gateway.on_prompt(lambda _: hang())
            callers = [Caller(gateway.url, gateway.token) for _ in range(4)]
            waiting, streaming, following, idle = callers
            session = waiting.session()
            waiting.send("POST", f"{session}/turn", {"prompt": "x"})
            streaming.send("POST", f"{streaming.session()}/turn", {"prompt": "x"}, Accept=MEDIA_TYPE)
            following.send("GET", f"{session}/events", Accept=MEDIA_TYPE)
            assert idle("GET", "/agents").status == 200
            half = socket.create_connection(("127.0.0.1", int(gateway.url.rpartition(":")[2])))
            half.sendall(b"GET /agents HTT")
            gateway.wait_for_prompt(2)
        assert threading.active_count() == threads
        for each in (*callers, half):
            each.close()
        gateway.close()
    assert len(os.listdir("/proc/self/fd")) == files


def test_a_test_that_fails_leaves_nothing_either() -> None:
    threads = threading.active_count()
    with pytest.raises(AssertionError), FakeGateway() as gateway, closing(Caller(gateway.url, "cf_x")) as call:
        gateway.answers(hang())
        assert call("GET", "/sessions").status == 200
    assert threading.active_count() == threads


def test_a_function_that_never_returns_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clawdforge.testing.fake_gateway.server._END_WITHIN_S", 0.05)
    stuck = threading.Event()
    gateway = FakeGateway()

    @gateway.on_prompt
    def never(prompt: Prompt) -> Any:
        stuck.wait()

    with closing(Caller(gateway.url, gateway.token)) as call:
        call("POST", "/run", {"prompt": "x"}, Prefer="respond-async")
        with pytest.raises(RuntimeError, match="does not return"):
            gateway.close()
        stuck.set()
        gateway.close()


def test_two_of_them_know_nothing_of_each_other(gateway: FakeGateway, call: Caller) -> None:
    with FakeGateway() as second:
        second.answers("of the second")
        assert gateway.unused == 0 and second.unused == 1
        assert call("POST", "/run", {"prompt": "x"}).body["result"] == "turn 1: x"
        assert call("GET", "/runs", token=second.token).problem() == (401, "unauthorized")
        assert second.url != gateway.url and second.prompts == []


def test_what_came_is_shown_without_the_token(gateway: FakeGateway, call: Caller) -> None:
    call("POST", "/run", {"prompt": "x"}, X_Mine="1")
    (request,) = gateway.requests
    assert (request.method, request.path, request.json()) == ("POST", "/run", {"prompt": "x"})
    assert request.headers["x-mine"] == "1" and "authorization" not in request.headers
    assert gateway.token not in repr(gateway) + repr(request) + repr(request.headers)


def test_a_prompt_that_does_not_come_is_not_waited_for_for_ever(gateway: FakeGateway) -> None:
    with pytest.raises(TimeoutError, match="0 prompts came"):
        gateway.wait_for_prompt(within_s=0.01)
    with pytest.raises(TimeoutError, match="no turn came"):
        gateway.gate().reached(within_s=0.01)
