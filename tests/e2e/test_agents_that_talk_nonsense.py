"""Agents whose messages are JSON, and JSON-RPC, and still not what ACP says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from clawdforge import Forge
from harness import agents
from harness.gateway import Gateway
from harness.http import Answer, ask
from harness.ledger import Ledger
from harness.tenants import tenant

# Says what its prompt tells it: "update …" in an update, "params …" in one without a frame, "ask …" in a request
# for permission, which it waits for, "result …" as the answer. What follows is text: it need not be JSON.
PARROT = """
import json, sys

def send(text):
    print('{"jsonrpc":"2.0",' + text + "}", flush=True)

for line in sys.stdin:
    message = json.loads(line)
    method, number = message.get("method"), message.get("id")
    if method == "initialize":
        send('"id":%d,"result":{"protocolVersion":1}' % number)
    elif method == "session/new":
        send('"id":%d,"result":{"sessionId":"s"}' % number)
    elif method == "session/prompt":
        kind, _, text = message["params"]["prompt"][0]["text"].partition(" ")
        result = '{"stopReason":"end_turn"}'
        if kind == "update":
            send('"method":"session/update","params":{"sessionId":"s","update":%s}' % text)
        elif kind == "params":
            send('"method":"session/update","params":%s' % text)
        elif kind == "ask":
            send('"id":77,"method":"session/request_permission","params":%s' % text)
            sys.stdin.readline()
        elif kind == "result":
            result = text
        send('"id":%d,"result":%s' % (number, result))
"""


@pytest.fixture(scope="module")
def talking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    gateway = Gateway(tmp_path_factory.mktemp("talking"), agents={"parrot": agents.python(PARROT)})
    gateway.start()
    yield gateway
    assert gateway.stop() == 0
    assert "Traceback" not in gateway.log()
    gateway.close()


@pytest.fixture
def forge(talking: Gateway) -> Iterator[Forge]:
    with tenant(talking) as app:
        yield app


def say(forge: Forge, text: str) -> tuple[Answer, Answer]:
    """The answer to a turn in which the parrot says this, and that of the next turn of its session."""
    session = forge.create_session(agent="parrot", idle_timeout_secs=20)
    path = f"/sessions/{session.session_id}/turn"
    return ask(forge, "POST", path, {"prompt": text}), ask(forge, "POST", path, {"prompt": "quiet"})


TOOL = '{"sessionUpdate":"tool_call","toolCallId":"t","rawInput":%s}'
NUMBERS: dict[str, Any] = {
    "1e999": None,
    "-1e400": None,
    "[NaN,Infinity]": [None, None],
    "1e308": 1e308,
    "9" * 30: int("9" * 30),
}


@pytest.mark.parametrize("number", NUMBERS)
def test_numbers_of_every_size_are_told_as_far_as_json_can(forge: Forge, number: str) -> None:
    answer, after = say(forge, f"update {TOOL % number}")
    assert (answer.status, after.status) == (200, 200)
    assert answer.body["events"][0]["args"] == NUMBERS[number]


@pytest.mark.parametrize("depth", [100, 190])
def test_what_is_deep_is_told(forge: Forge, depth: int) -> None:
    answer, after = say(forge, f"update {TOOL % ('[' * depth + ']' * depth)}")
    assert (answer.status, after.status) == (200, 200)
    assert json.dumps(answer.body["events"][0]["args"]) == "[" * depth + "]" * depth


@pytest.mark.parametrize("depth", [300, 950, 965, 990, 100_000])
def test_what_is_deeper_than_any_parser_likes_is_passed_over(forge: Forge, depth: int) -> None:
    answer, after = say(forge, f"update {TOOL % ('[' * depth + ']' * depth)}")
    assert (answer.status, after.status) == (200, 200)
    assert answer.body["events"] == []


SHAPELESS = [
    '{"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":7}}',
    '{"sessionUpdate":"agent_message_chunk","content":null}',
    '{"sessionUpdate":"agent_message_chunk"}',
    '{"sessionUpdate":"tool_call","toolCallId":7}',
    '{"sessionUpdate":"tool_call","toolCallId":"a","title":{"x":1}}',
    '{"sessionUpdate":"tool_call","toolCallId":"a","kind":["edit"]}',
    '{"sessionUpdate":"tool_call","toolCallId":"a","status":7}',
    '{"sessionUpdate":"tool_call_update","toolCallId":"never begun","kind":{}}',
    '{"sessionUpdate":"plan","entries":7}',
    '{"sessionUpdate":{}}',
    '{"sessionUpdate":"current_mode_update","currentModeId":7}',
    "{}",
]


@pytest.mark.parametrize("update", SHAPELESS)
def test_an_update_without_its_shape_is_kept_whole_and_in_no_answer(
    forge: Forge, talking: Gateway, update: str
) -> None:
    answer, after = say(forge, f"update {update}")
    assert (answer.status, answer.body["events"], after.status) == (200, [], 200)
    stored = Ledger(talking.data_dir).events(answer.body["session_id"])
    assert [each["data"]["acp"] for each in stored if each["type"] == "other"] == [json.loads(update)]


@pytest.mark.parametrize("params", ["7", "[]", "null", "{}", '{"update":7}', '{"sessionId":"s"}'])
def test_an_update_that_is_none_does_no_harm(forge: Forge, params: str) -> None:
    answer, after = say(forge, f"params {params}")
    assert (answer.status, answer.body["events"], after.status) == (200, [], 200)


def test_a_tool_call_cannot_name_fields_of_ours(forge: Forge) -> None:
    update = '{"sessionUpdate":"tool_call","toolCallId":"t","id":"x","seq":99,"type":"text","turn_index":7,"ts":1}'
    [call] = say(forge, f"update {update}")[0].body["events"]
    assert (call["id"], call["type"], call["turn_index"]) == ("t", "tool_call", 1)
    assert call["seq"] < 99
    assert call["ts"] > 1


@pytest.mark.parametrize(
    "asked",
    [
        "{}",
        "[]",
        "7",
        '{"toolCall":7,"options":7}',
        '{"toolCall":{"toolCallId":7,"kind":{},"title":[],"locations":[7],"rawInput":{"path":7}},"options":[7]}',
        '{"toolCall":{"toolCallId":"t"},"options":[{"optionId":7},{"optionId":"a","kind":7,"name":8}]}',
    ],
)
def test_a_permission_request_without_its_shape_is_answered_with_no(forge: Forge, asked: str) -> None:
    answer, after = say(forge, f"ask {asked}")
    assert (answer.status, after.status) == (200, 200)
    decisions = [each["decision"] for each in answer.body["events"] if each["type"] == "permission_answer"]
    assert decisions == ["reject"]


@pytest.mark.parametrize(
    "result",
    ["7", '"x"', "[]", "null", "{}", '{"stopReason":7}', '{"stopReason":["end_turn"]}', '{"stopReason":{}}'],
)
def test_an_answer_without_a_stop_reason_is_a_failure_at_once(forge: Forge, result: str) -> None:
    answer, after = say(forge, f"result {result}")
    assert answer.problem() == (502, "agent_failed")
    assert after.status == 200


@pytest.mark.parametrize("usage", ["7", "[]", '{"inputTokens":"x","outputTokens":true,"totalTokens":1e999}'])
def test_tokens_without_their_shape_are_not_counted(forge: Forge, usage: str) -> None:
    answer, _ = say(forge, f'result {{"stopReason":"end_turn","usage":{usage}}}')
    assert (answer.status, answer.body["usage"]["source"]) == (200, "estimate")
