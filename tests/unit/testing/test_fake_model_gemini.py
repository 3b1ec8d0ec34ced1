"""The scripted model endpoint as Gemini: what is this format's own, over real sockets."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest

from clawdforge.testing.fake_model import FakeModel

PATIENCE_S = 20.0
TOOLS = [{"functionDeclarations": [{"name": "write_file"}, {"name": "read_file"}]}]
WHOLE, STREAM, COUNT = "generateContent", "streamGenerateContent?alt=sse", "countTokens"


@pytest.fixture
def model() -> Iterator[FakeModel]:
    with FakeModel() as model:
        yield model


def user(*texts: str) -> dict[str, Any]:
    return {"role": "user", "parts": [{"text": text} for text in texts]}


def request(*contents: Any, **more: Any) -> dict[str, Any]:
    """A request for content; a string stands for a user's."""
    spelled = [user(one) if isinstance(one, str) else one for one in contents]
    return {"contents": spelled, "tools": TOOLS, **more}


def post(model: FakeModel, body: Any, verb: str = WHOLE, below: str = "/v1beta") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(model.url.removeprefix("http://"), timeout=PATIENCE_S)
    try:
        connection.request("POST", f"{below}/models/gemini-test-9:{verb}", body=json.dumps(body))
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def answer(model: FakeModel, *contents: Any, **more: Any) -> dict[str, Any]:
    """The one candidate of an answer that is whole."""
    status, raw = post(model, request(*contents, **more))
    assert status == 200, raw
    [candidate] = json.loads(raw)["candidates"]
    assert isinstance(candidate, dict)
    return candidate


def parts(model: FakeModel, *contents: Any, **more: Any) -> list[dict[str, Any]]:
    found = answer(model, *contents, **more)["content"]["parts"]
    assert isinstance(found, list)
    return found


def stream(model: FakeModel, *contents: Any) -> list[dict[str, Any]]:
    status, raw = post(model, request(*contents), STREAM)
    assert status == 200, raw
    frames = raw.decode().split("\r\n\r\n")
    assert frames.pop() == ""
    assert all(frame.startswith("data: ") for frame in frames)
    return [json.loads(frame.removeprefix("data: ")) for frame in frames]


def test_a_request_tells_what_it_asks_for(model: FakeModel) -> None:
    system = {"role": "user", "parts": [{"text": "Be brief."}, {"text": "Be kind."}]}
    thinking = {"thinkingConfig": {"includeThoughts": True, "thinkingLevel": "HIGH"}}
    post(model, request("hi", systemInstruction=system, generationConfig=thinking))
    post(model, {"contents": [{"parts": [{"text": "hello"}]}]})
    post(model, {"contents": [{"role": "user"}]})
    post(model, {})
    told = [(one.kind, one.last_text, one.model, one.system, one.effort, one.thinks) for one in model.requests]
    assert told == [
        ("turn", "hi", "gemini-test-9", "Be brief.\n\nBe kind.", "HIGH", True),
        ("side", "hello", "gemini-test-9", "", None, False),
        ("unknown", "", None, "", None, False),
        ("unknown", "", None, "", None, False),
    ]
    assert model.requests[0].ask is not None
    assert model.requests[0].ask.tools == {"write_file", "read_file"}


def test_what_it_does_not_know_of_a_model_is_not_found(model: FakeModel) -> None:
    assert post(model, {}, "embedContent")[0] == 404
    assert [one.kind for one in model.requests] == ["unknown"]


@pytest.mark.parametrize("below", ["/v1", "/v1beta", "/v1beta1/publishers/google"])
def test_it_is_found_wherever_a_vendor_has_it(model: FakeModel, below: str) -> None:
    assert post(model, request("hi"), STREAM, below)[0] == 200
    assert [(one.kind, one.model, one.query) for one in model.requests] == [("turn", "gemini-test-9", "alt=sse")]


def test_an_answer_is_whole_where_it_is_not_streamed(model: FakeModel) -> None:
    status, raw = post(model, request("good day to you"))
    whole = json.loads(raw)
    assert (status, whole["modelVersion"]) == (200, "gemini-test-9")
    [candidate] = whole["candidates"]
    assert candidate["content"] == {"role": "model", "parts": [{"text": "FAKE: good day to you"}]}
    assert (candidate["finishReason"], candidate["index"]) == ("STOP", 0)
    usage = whole["usageMetadata"]
    counted = usage["promptTokenCount"] + usage["candidatesTokenCount"] + usage["thoughtsTokenCount"]
    assert (usage["totalTokenCount"], usage["cachedContentTokenCount"]) == (counted, 10)


def test_a_stream_brings_text_in_pieces_and_its_reason_at_the_end(model: FakeModel) -> None:
    chunks = stream(model, "[[THINK **Plan** hm]][[SAY good day]]")
    assert len({one["responseId"] for one in chunks}) == 1
    *said, last = [one["candidates"][0] for one in chunks]
    assert [one["content"]["parts"] for one in said] == [
        [{"text": "**Plan** hm", "thought": True}],
        [{"text": "good"}],
        [{"text": " day"}],
    ]
    assert not any("finishReason" in one for one in said)
    assert last == {"content": {"role": "model"}, "finishReason": "STOP", "index": 0}


@pytest.mark.parametrize(
    ("prompt", "name", "arguments"),
    [
        ("[[WRITE /w/a.txt two words]]", "write_file", {"file_path": "/w/a.txt", "content": "two words"}),
        ("[[READ /w/a.txt]]", "read_file", {"file_path": "/w/a.txt"}),
        ("[[BASH ls -l]]", "run_shell_command", {"command": "ls -l", "description": "A scripted command"}),
        ('[[TOOL glob {"pattern": "*"}]]', "glob", {"pattern": "*"}),
    ],
)
def test_it_calls_the_agents_tools(model: FakeModel, prompt: str, name: str, arguments: dict[str, Any]) -> None:
    [call] = parts(model, prompt)
    assert call["functionCall"] == {"name": name, "args": arguments}
    streamed = [part for one in stream(model, prompt) for part in one["candidates"][0]["content"].get("parts", ())]
    assert streamed == [call]


@pytest.mark.parametrize(
    ("response", "said"),
    [
        ({"output": "the content"}, "TOOLDONE: the content"),
        ({"error": "no such file"}, "TOOLDONE: no such file"),
        ({"rows": 3}, 'TOOLDONE: {"rows": 3}'),
    ],
)
def test_the_result_of_a_tool_is_told(model: FakeModel, response: dict[str, Any], said: str) -> None:
    called = answer(model, "[[READ /x]]")["content"]
    result = {"functionResponse": {"id": "1", "name": "read_file", "response": response}}
    back = {"role": "user", "parts": [result]}
    assert parts(model, "[[READ /x]]", called, back) == [{"text": said}]
    cancelled = {"role": "user", "parts": [result, {"text": "[[SAY the next prompt]]"}]}
    assert parts(model, "[[READ /x]]", called, cancelled) == [{"text": "the next prompt"}]


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [("[[REFUSE]]", "SAFETY"), ("[[STOP max_tokens]]", "MAX_TOKENS"), ("[[STOP OTHER]]", "OTHER")],
)
def test_other_reasons_to_stop(model: FakeModel, prompt: str, reason: str) -> None:
    assert answer(model, prompt) == {"content": {"role": "model"}, "finishReason": reason, "index": 0}
    assert stream(model, prompt)[-1]["candidates"][0]["finishReason"] == reason


@pytest.mark.parametrize(
    ("status", "name"), [(400, "INVALID_ARGUMENT"), (429, "RESOURCE_EXHAUSTED"), (500, "INTERNAL")]
)
def test_it_fails_recognisably(model: FakeModel, status: int, name: str) -> None:
    seen, raw = post(model, request(f"[[ERR {status}]]"), STREAM)
    expected = {"error": {"code": status, "message": f"fake model error {status}", "status": name}}
    assert (seen, json.loads(raw)) == (status, expected)


def test_it_cuts_a_stream(model: FakeModel) -> None:
    with pytest.raises(http.client.IncompleteRead) as cut:
        post(model, request("[[SAY one two]][[CUT]]"), STREAM)
    assert b'"one"' in cut.value.partial
    assert b"finishReason" not in cut.value.partial


def test_side_requests_get_what_they_need(model: FakeModel) -> None:
    """What has no tools is the agent's own: its orders are not followed, and a schema is satisfied."""
    kinds = {"flag": "BOOLEAN", "count": "integer", "names": "ARRAY", "why": "STRING"}
    schema = {
        "type": "OBJECT",
        "properties": {name: {"type": kind} for name, kind in kinds.items()} | {"choice": {"enum": ["a", "b"]}},
    }
    [part] = parts(model, "[[ERR 500]] score it", tools=[], generationConfig={"responseJsonSchema": schema})
    assert json.loads(part["text"]) == {"flag": False, "count": 1, "names": [], "why": "scripted", "choice": "a"}
    assert parts(model, "[[ERR 500]] a title", tools=[]) == [{"text": "FAKE: [[ERR 500]] a title"}]
    assert post(model, request("x" * 400), COUNT) == (200, b'{"totalTokens": 100}')
    assert [one.kind for one in model.requests] == ["side", "side", "side"]
