"""The scripted model endpoint as OpenAI Responses: what is this format's own, over real sockets."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest

from clawdforge.testing.fake_model import FakeModel

PATIENCE_S = 20.0
TOOLS = [
    {"type": "function", "name": "exec_command", "parameters": {"type": "object"}},
    {"type": "custom", "name": "apply_patch", "format": {"type": "grammar"}},
    {"type": "web_search"},
]
PATCH = "*** Begin Patch\n*** Add File: /w/a.txt\n+two\n+lines\n*** End Patch\n"


@pytest.fixture
def model() -> Iterator[FakeModel]:
    with FakeModel() as model:
        yield model


def message(role: str, *texts: str) -> dict[str, Any]:
    kind = "output_text" if role == "assistant" else "input_text"
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text} for text in texts]}


def request(*items: Any, **more: Any) -> dict[str, Any]:
    """A Responses request; a string stands for a user message."""
    spelled = [message("user", one) if isinstance(one, str) else one for one in items]
    return {"model": "gpt-test-9", "input": spelled, "tools": TOOLS, **more}


def post(model: FakeModel, body: Any) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(model.url.removeprefix("http://"), timeout=PATIENCE_S)
    try:
        connection.request("POST", "/v1/responses", body=json.dumps(body))
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def answer(model: FakeModel, *items: Any, **more: Any) -> dict[str, Any]:
    status, raw = post(model, request(*items, **more))
    assert status == 200, raw
    response = json.loads(raw)
    assert isinstance(response, dict)
    return response


def text(model: FakeModel, *items: Any, **more: Any) -> str:
    [said] = answer(model, *items, **more)["output"]
    assert (said["type"], said["role"]) == ("message", "assistant")
    return "".join(part["text"] for part in said["content"])


def stream(model: FakeModel, *items: Any) -> list[dict[str, Any]]:
    status, raw = post(model, request(*items, stream=True))
    assert status == 200, raw
    frames = raw.decode().split("\n\n")
    assert frames.pop() == ""
    events = []
    for frame in frames:
        name, data = frame.split("\n")
        events.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {events[-1]['type']}"
    assert [one["sequence_number"] for one in events] == list(range(len(events)))
    return events


def test_a_request_tells_what_it_asks_for(model: FakeModel) -> None:
    reasoning = {"effort": "high", "summary": "auto"}
    post(model, request(message("developer", "Be kind."), "hi", instructions="Be brief.", reasoning=reasoning))
    post(model, {"model": "gpt-test-9", "input": "hello"})
    post(model, {"model": "gpt-test-9"})
    told = [(one.kind, one.last_text, one.model, one.system, one.effort, one.thinks) for one in model.requests]
    assert told == [
        ("turn", "hi", "gpt-test-9", "Be brief.\n\nBe kind.", "high", True),
        ("side", "hello", "gpt-test-9", "", None, False),
        ("unknown", "", None, "", None, False),
    ]


def test_it_says_what_it_is_told_and_counts(model: FakeModel) -> None:
    response = answer(model, "[[SAY so]]")
    assert (response["object"], response["status"], response["model"]) == ("response", "completed", "gpt-test-9")
    usage = response["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] == 130
    assert usage["input_tokens_details"] == {"cached_tokens": 10}
    assert usage["output_tokens_details"] == {"reasoning_tokens": 5}
    assert text(model, "[[SAY so]]") == "so"
    assert text(model, "[[ECHO one]]", message("assistant", "ok"), "plain", "[[ECHO two]]") == "turns=2 last=two"
    assert answer(model, "[[EMPTY]]")["output"] == []


def test_thinking_is_a_summary_ahead_of_the_answer(model: FakeModel) -> None:
    thinking, said = answer(model, "[[THINK hm]][[SAY so]]")["output"]
    assert (thinking["type"], thinking["summary"]) == ("reasoning", [{"type": "summary_text", "text": "hm"}])
    assert said["content"][0]["text"] == "so"


@pytest.mark.parametrize(
    ("prompt", "name", "arguments"),
    [
        ("[[READ /w/a b]]", "exec_command", {"cmd": "cat -- '/w/a b'"}),
        ('[[TOOL exec_command {"cmd": "[x]"}]]', "exec_command", {"cmd": "[x]"}),
    ],
)
def test_it_calls_a_function(model: FakeModel, prompt: str, name: str, arguments: dict[str, Any]) -> None:
    [call] = answer(model, prompt)["output"]
    assert (call["type"], call["name"], json.loads(call["arguments"])) == ("function_call", name, arguments)


def test_a_command_is_one_that_its_user_is_asked_about(model: FakeModel) -> None:
    [call] = answer(model, "[[BASH touch x]]")["output"]
    arguments = json.loads(call["arguments"])
    assert (call["name"], arguments["cmd"]) == ("exec_command", "touch x")
    assert arguments["sandbox_permissions"] == "require_escalated"
    assert arguments["justification"]


def test_a_file_is_written_by_a_patch(model: FakeModel) -> None:
    [call] = answer(model, "[[WRITE /w/a.txt two\nlines]]")["output"]
    assert (call["type"], call["name"], call["input"]) == ("custom_tool_call", "apply_patch", PATCH)
    [same] = answer(model, f"[[TOOL apply_patch {json.dumps({'input': PATCH})}]]")["output"]
    assert (same["type"], same["input"]) == ("custom_tool_call", PATCH)
    [command] = answer(model, "[[WRITE /w/a.txt two\nlines]]", tools=TOOLS[:1])["output"]
    assert PATCH in json.loads(command["arguments"])["cmd"]


@pytest.mark.parametrize("kind", ["function_call", "custom_tool_call"])
def test_the_result_of_a_tool_is_told(model: FakeModel, kind: str) -> None:
    result = {"type": f"{kind}_output", "call_id": "call_1", "output": "the content"}
    history = ["[[READ /x]]", {"type": kind, "call_id": "call_1", "name": "exec_command"}]
    assert text(model, *history, result) == "TOOLDONE: the content"
    blocks = {**result, "output": [{"type": "input_text", "text": "in a block"}]}
    assert text(model, *history, result, blocks) == "TOOLDONE: the content\nin a block"
    assert text(model, *history, result, "[[SAY the next prompt]]") == "the next prompt"


@pytest.mark.parametrize(("status", "kind"), [(400, "invalid_request_error"), (500, "server_error")])
def test_it_fails_recognisably(model: FakeModel, status: int, kind: str) -> None:
    seen, raw = post(model, request(f"[[ERR {status}]]", stream=True))
    error = json.loads(raw)["error"]
    assert (seen, error["type"], error["message"]) == (status, kind, f"fake model error {status}")


def test_an_answer_that_stops_early_is_incomplete(model: FakeModel) -> None:
    response = answer(model, "[[SAY half]][[STOP max_tokens]]")
    assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert stream(model, "[[SAY half]][[STOP content_filter]]")[-1]["type"] == "response.incomplete"


def test_a_refusal_is_words_of_their_own_kind(model: FakeModel) -> None:
    response = answer(model, "[[REFUSE]]")
    assert response["status"] == "completed"
    [part] = response["output"][0]["content"]
    assert part["type"] == "refusal" and part["refusal"]
    assert "response.refusal.delta" in [one["type"] for one in stream(model, "[[REFUSE]]")]


def test_a_stream_has_the_events_of_the_real_thing(model: FakeModel) -> None:
    events = stream(model, "[[THINK hm]][[SAY good day]]")
    assert [one["type"].removeprefix("response.") for one in events] == [
        *["created", "in_progress", "output_item.added"],
        *["reasoning_summary_part.added", "reasoning_summary_text.delta"],
        *["reasoning_summary_text.done", "reasoning_summary_part.done", "output_item.done"],
        *["output_item.added", "content_part.added", "output_text.delta", "output_text.delta"],
        *["content_part.done", "output_item.done", "completed"],
    ]
    assert events[0]["response"]["status"] == "in_progress"
    announced = next(one for one in events if one["type"] == "response.output_item.added")
    assert announced["item"]["summary"] == []
    assert "".join(one["delta"] for one in events if one["type"] == "response.output_text.delta") == "good day"
    ending = events[-1]["response"]
    assert ending["usage"] and [item["type"] for item in ending["output"]] == ["reasoning", "message"]


@pytest.mark.parametrize(
    ("prompt", "field", "kind"),
    [
        ("[[READ /a]]", "arguments", "function_call_arguments"),
        ("[[WRITE /a hello]]", "input", "custom_tool_call_input"),
    ],
)
def test_a_streamed_tool_call_brings_its_arguments_in_parts(
    model: FakeModel, prompt: str, field: str, kind: str
) -> None:
    events = stream(model, prompt)
    parts = [one["delta"] for one in events if one["type"] == f"response.{kind}.delta"]
    [added] = [one["item"] for one in events if one["type"] == "response.output_item.added"]
    [done] = [one["item"] for one in events if one["type"] == "response.output_item.done"]
    assert added[field] == "" and len(parts) == 2
    assert "".join(parts) == done[field] != ""


def test_it_speaks_no_other_protocol_on_its_connections(model: FakeModel) -> None:
    """codex asks for a web socket first, and goes on without one only after this answer."""
    connection = http.client.HTTPConnection(model.url.removeprefix("http://"), timeout=PATIENCE_S)
    connection.request("GET", "/v1/responses", headers={"Connection": "Upgrade", "Upgrade": "websocket"})
    assert connection.getresponse().status == 426
    connection.close()
    assert [request.kind for request in model.requests] == ["unknown"]
