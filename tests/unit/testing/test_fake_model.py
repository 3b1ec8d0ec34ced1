"""The scripted model endpoint, driven over real sockets."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clawdforge.testing.fake_model import FakeModel

PATIENCE_S = 20.0
TOOLS = [{"name": "Write", "input_schema": {"type": "object"}}]


@pytest.fixture
def model() -> Iterator[FakeModel]:
    before = set(threading.enumerate())
    with FakeModel() as model:
        yield model
    assert set(threading.enumerate()) <= before, "a thread outlives the endpoint"


def connect(model: FakeModel) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(model.url.removeprefix("http://"), timeout=PATIENCE_S)


def user(*texts: str) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "text", "text": text} for text in texts]}


def request(*messages: Any, **more: Any) -> dict[str, Any]:
    """A Messages request; a string stands for a user message."""
    spelled = [user(one) if isinstance(one, str) else one for one in messages]
    return {"model": "claude-test-9", "max_tokens": 99, "messages": spelled, "tools": TOOLS, **more}


def post(model: FakeModel, body: Any, path: str = "/v1/messages?beta=true") -> tuple[int, Any]:
    """The status and the JSON of the answer."""
    connection = connect(model)
    try:
        connection.request("POST", path, body=json.dumps(body), headers={"X-Api-Key": "key"})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def answer(model: FakeModel, *messages: Any) -> dict[str, Any]:
    status, message = post(model, request(*messages))
    assert status == 200, message
    assert isinstance(message, dict)
    return message


def text(model: FakeModel, *messages: Any) -> str:
    return "".join(block["text"] for block in answer(model, *messages)["content"] if block["type"] == "text")


def stream(model: FakeModel, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The events of a streamed answer; what is left when it is cut raises IncompleteRead."""
    connection = connect(model)
    try:
        connection.request("POST", "/v1/messages", body=json.dumps({**body, "stream": True}))
        response = connection.getresponse()
        assert response.headers["Content-Type"] == "text/event-stream"
        frames = response.read().decode().split("\n\n")
    finally:
        connection.close()
    assert frames.pop() == ""
    events = []
    for frame in frames:
        name, data = frame.split("\n")
        events.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {events[-1]['type']}"
    return events


# -- what it records ----------------------------------------------------------------------------------------


def test_every_request_is_recorded_with_head_and_body(model: FakeModel) -> None:
    body = request("hello", system="Be brief.", stream=False)
    post(model, body)
    (seen,) = model.requests
    assert (seen.method, seen.path, seen.query) == ("POST", "/v1/messages", "beta=true")
    assert seen.headers["x-api-key"] == "key" and seen.body == body
    assert (seen.kind, seen.last_text) == ("turn", "hello")


def test_a_request_tells_what_it_asks_for_whatever_its_format(model: FakeModel) -> None:
    system = [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Be kind."}]
    thinking = {"type": "adaptive"}
    post(model, request("hello", system=system, thinking=thinking, output_config={"effort": "low"}))
    post(model, request("hello"))
    post(model, {})
    told = [(one.model, one.system, one.effort, one.thinks) for one in model.requests]
    assert told == [
        ("claude-test-9", "Be brief.\n\nBe kind.", "low", True),
        ("claude-test-9", "", None, False),
        (None, "", None, False),
    ]


@pytest.mark.parametrize(("method", "path"), [("HEAD", "/"), ("GET", "/v1/models"), ("POST", "/v1/complete")])
def test_what_it_does_not_know_is_recorded_and_not_found(model: FakeModel, method: str, path: str) -> None:
    connection = connect(model)
    connection.request(method, path)
    response = connection.getresponse()
    assert response.status == 404
    assert (response.read() == b"") == (method == "HEAD")
    connection.close()
    assert [(one.kind, one.path) for one in model.requests] == [("unknown", path)]


@pytest.mark.parametrize(
    "body", ["text", None, {}, {"model": "m"}, {"model": "m", "messages": [{"role": "user"}]}]
)
def test_a_body_that_is_no_messages_request_is_refused(model: FakeModel, body: Any) -> None:
    status, error = post(model, body)
    assert status == 400 and error["error"]["type"] == "invalid_request_error"
    assert model.turns == [] and len(model.requests) == 1


def test_requests_without_tools_and_counts_are_the_agents_own(model: FakeModel) -> None:
    body = {**request("<session>[[ERR 500]]</session> Write a title"), "tools": []}
    assert post(model, body)[0] == 200
    assert post(model, request("x" * 400), "/v1/messages/count_tokens") == (200, {"input_tokens": 100})
    assert [one.kind for one in model.requests] == ["side", "side"] and model.turns == []


def test_waiting_for_a_request(model: FakeModel) -> None:
    thread = threading.Thread(target=post, args=(model, request("hello")))
    thread.start()
    model.wait_for(lambda model: [one.last_text for one in model.turns] == ["hello"], PATIENCE_S)
    thread.join()
    with pytest.raises(TimeoutError, match="'turn'"):
        model.wait_for(lambda model: len(model.turns) == 2, 0.01)


# -- what it says -------------------------------------------------------------------------------------------


def test_without_a_directive_it_says_what_it_heard(model: FakeModel) -> None:
    message = answer(model, "good day to you")
    assert message["content"] == [{"type": "text", "text": "FAKE: good day to you"}]
    assert (message["model"], message["stop_reason"]) == ("claude-test-9", "end_turn")
    assert message["usage"]["input_tokens"] == 100


def test_an_echo_counts_the_texts_with_directives(model: FakeModel) -> None:
    history = ["[[ECHO one]]", {"role": "assistant", "content": "ok"}, "plain", user("[[SAY x]]", "[[ECHO two]]")]
    assert text(model, *history) == "turns=3 last=two"
    assert text(model, {"role": "user", "content": "[[ECHO string]]"}) == "turns=1 last=string"


def test_the_last_block_with_a_directive_gives_the_orders(model: FakeModel) -> None:
    after = {"role": "system", "content": "A reminder with [[SAY nonsense]]"}
    assert (
        text(model, user("<reminder>", "[[SAY cancelled]]", "x [[SAY heard]] y", "[@file](uri)"), after) == "heard"
    )


@pytest.mark.parametrize(
    ("prompt", "content"),
    [
        ("[[SAY a]] and [[SAY b]]", ["a", "b"]),
        ('[[JSON {"a": [1]}]]', ['```json\n{"a": [1]}\n```']),
        ("[[SLOW 3 0.001]]", ["0 1 2 "]),
        ("[[HANG 0.01]]", ["hung"]),
        ("[[EMPTY]]", []),
        ("[[REFUSE]]", []),
    ],
)
def test_what_it_is_told_to_say(model: FakeModel, prompt: str, content: list[str]) -> None:
    assert [block["text"] for block in answer(model, prompt)["content"]] == content


def test_what_comes_then_answers_messages_without_directives(model: FakeModel) -> None:
    first = user("[[SAY one]][[THEN SAY two]][[THEN JSON [1]]]")
    assert text(model, first) == "one"
    said = {"role": "assistant", "content": "one"}
    assert text(model, first, said, user("go on", "as I said")) == "two```json\n[1]\n```"
    assert text(model, first, said, user("[[SAY other]]")) == "other"
    assert text(model, first, said, user("[[SAY other]]"), said, user("words")) == "FAKE: words"


def test_stop_reasons(model: FakeModel) -> None:
    assert answer(model, "[[REFUSE]]")["stop_reason"] == "refusal"
    assert answer(model, "[[SAY x]][[STOP max_tokens]]")["stop_reason"] == "max_tokens"
    assert answer(model, '[[TOOL grep {"q": 1}]]')["stop_reason"] == "tool_use"


def test_thinking_comes_before_text(model: FakeModel) -> None:
    thinking, said = answer(model, "[[THINK hm]]")["content"]
    assert thinking["type"] == "thinking" and thinking["thinking"] == "hm" and thinking["signature"]
    assert said == {"type": "text", "text": "thought"}
    assert text(model, "[[THINK hm]][[SAY so]]") == "so"


@pytest.mark.parametrize(
    ("prompt", "name", "arguments"),
    [
        ("[[WRITE /w/a.txt two words]]", "Write", {"file_path": "/w/a.txt", "content": "two words"}),
        ("[[READ /w/a.txt]]", "Read", {"file_path": "/w/a.txt"}),
        ("[[BASH ls -l]]", "Bash", {"command": "ls -l", "description": "A scripted command"}),
        ('[[TOOL Grep {"pattern": "[x]"}]]', "Grep", {"pattern": "[x]"}),
    ],
)
def test_it_calls_the_agents_tools(model: FakeModel, prompt: str, name: str, arguments: dict[str, Any]) -> None:
    (call,) = answer(model, prompt)["content"]
    assert (call["type"], call["name"], call["input"]) == ("tool_use", name, arguments)


def test_the_result_of_a_tool_is_told(model: FakeModel) -> None:
    call = answer(model, "[[READ /x]]")
    result = {"type": "tool_result", "tool_use_id": call["content"][0]["id"], "content": "the content"}
    history = ["[[READ /x]]", {"role": "assistant", "content": call["content"]}]
    back = {"role": "user", "content": [result, {"type": "text", "text": "<reminder>"}]}
    assert text(model, *history, back) == "TOOLDONE: the content"
    blocks = {"role": "user", "content": [{**result, "content": [{"type": "text", "text": "in a block"}]}]}
    assert text(model, *history, blocks) == "TOOLDONE: in a block"
    merged = {"role": "user", "content": [result, {"type": "text", "text": "[[SAY the next prompt]]"}]}
    assert text(model, *history, merged) == "the next prompt"


# -- errors -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *[(400, "invalid_request_error"), (401, "authentication_error"), (429, "rate_limit_error")],
        *[(500, "api_error"), (529, "overloaded_error")],
    ],
)
def test_it_fails_recognisably(model: FakeModel, status: int, kind: str) -> None:
    seen, error = post(model, request(f"[[ERR {status}]]", stream=True))
    assert seen == status
    assert error["error"] == {"type": kind, "message": f"fake model error {status}"}


def test_it_fails_a_few_times_then_recovers(model: FakeModel) -> None:
    assert [post(model, request("[[ERR 500 2]]"))[0] for _ in range(3)] == [500, 500, 200]
    assert text(model, "[[ERR 500 2]]") == "recovered"


@pytest.mark.parametrize("prompt", ["[[NOPE]]", "[[TOOL x {]]", "[[ERR often]]", "[[BIG much]]"])
def test_a_typo_is_loud(model: FakeModel, prompt: str) -> None:
    status, error = post(model, request(prompt))
    assert status == 400 and error["type"] == "error"


def test_it_drops_the_connection(model: FakeModel) -> None:
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        post(model, request("[[DROP]]"))
    assert len(model.turns) == 1


def test_it_cuts_a_stream(model: FakeModel) -> None:
    with pytest.raises(http.client.IncompleteRead) as cut:
        stream(model, request("[[SAY one two]][[CUT]]"))
    assert b"message_start" in cut.value.partial and b"message_stop" not in cut.value.partial


# -- streams ------------------------------------------------------------------------------------------------


def test_a_stream_has_the_events_of_the_real_thing(model: FakeModel) -> None:
    events = stream(model, request("[[THINK hm]][[SAY good day]]"))
    assert [one["type"] for one in events] == [
        *["message_start", "ping", "content_block_start"],
        *["content_block_delta", "content_block_delta", "content_block_stop", "content_block_start"],
        *["content_block_delta", "content_block_delta", "content_block_stop", "message_delta", "message_stop"],
    ]
    opening = events[0]["message"]
    assert (opening["content"], opening["stop_reason"], opening["model"]) == ([], None, "claude-test-9")
    deltas = [one["delta"]["type"] for one in events if one["type"] == "content_block_delta"]
    assert deltas == ["thinking_delta", "signature_delta", "text_delta", "text_delta"]
    assert events[-2]["delta"]["stop_reason"] == "end_turn"


def test_a_streamed_tool_call_brings_its_arguments_in_parts(model: FakeModel) -> None:
    events = stream(model, request("[[WRITE /a hello]]"))
    start = next(one for one in events if one["type"] == "content_block_start")
    assert start["content_block"]["name"] == "Write" and start["content_block"]["input"] == {}
    parts = [one["delta"]["partial_json"] for one in events if one["type"] == "content_block_delta"]
    assert len(parts) == 2 and json.loads("".join(parts)) == {"file_path": "/a", "content": "hello"}
    assert events[-2]["delta"]["stop_reason"] == "tool_use"


def test_a_big_answer_comes_in_pieces(model: FakeModel) -> None:
    events = stream(model, request("[[BIG 200001]]"))
    pieces = [one["delta"]["text"] for one in events if one["type"] == "content_block_delta"]
    assert len(pieces) == 4 and sum(map(len, pieces)) == 200_001


def test_a_connection_serves_more_than_one_request(model: FakeModel) -> None:
    connection = connect(model)
    sockets = set()
    for number in range(3):
        connection.request(
            "POST", "/v1/messages", body=json.dumps(request(f"[[SAY {number}]]", stream=number == 1))
        )
        sockets.add(connection.sock)
        assert str(number) in connection.getresponse().read().decode()
    assert len(sockets) == 1
    connection.close()


@pytest.mark.parametrize("prompt", ["[[SLOW 1000 0.05]]", "[[HANG 300]]"])
def test_it_stops_when_the_client_goes_away(model: FakeModel, prompt: str) -> None:
    connection = connect(model)
    connection.request("POST", "/v1/messages", body=json.dumps(request(prompt, stream=True)))
    model.wait_for(lambda model: model.turns, PATIENCE_S)
    connection.sock.shutdown(socket.SHUT_RDWR)
    connection.close()
    model.wait_for(lambda model: [one.last_text for one in model.hung_up] == [prompt], PATIENCE_S)


def test_it_ends_whatever_its_clients_do() -> None:
    """One hangs, one streams slowly, one sits idle on an open connection."""
    before = set(threading.enumerate())
    with FakeModel() as model:
        connections = [connect(model) for _ in range(3)]
        for connection, prompt in zip(
            connections, ["[[HANG 300]]", "[[SLOW 1000 1]]", "[[SAY done]]"], strict=True
        ):
            connection.request("POST", "/v1/messages", body=json.dumps(request(prompt, stream=True)))
        assert b"message_stop" in connections[2].getresponse().read()
        model.wait_for(lambda model: len(model.turns) == 3, PATIENCE_S)
    assert set(threading.enumerate()) <= before
    for connection in connections:
        connection.close()


def test_it_runs_as_a_program(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "clawdforge.testing.fake_model", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        assert process.stdout
        url = process.stdout.readline().strip()
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=PATIENCE_S)
        connection.request("POST", "/v1/messages", body=json.dumps(request("[[SAY hi]]")))
        assert json.loads(connection.getresponse().read())["content"] == [{"type": "text", "text": "hi"}]
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
        connection.close()
