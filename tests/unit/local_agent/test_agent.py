"""The ACP side of the embedded agent, over pipes, with a scripted model."""

from __future__ import annotations

from typing import Any

import pytest

from clawdforge.local_agent.model import ModelFailed, Reply, RequestRefused, Usage, WindowFull
from harness.acp_lines import AcpLines

SCHEMA = {"type": "object"}
WITH_SCHEMA: dict[str, Any] = {"_meta": {"clawdforge": {"schema": SCHEMA}}}


def roles(messages: Any) -> list[tuple[str, str]]:
    return [(each["role"], each["content"]) for each in messages]


def test_it_introduces_itself(client: AcpLines) -> None:
    told = client.call("initialize", protocolVersion=1, clientCapabilities={})

    assert told["protocolVersion"] == 1
    assert set(told["agentInfo"]) == {"name", "title", "version"}
    assert told["agentCapabilities"]["promptCapabilities"]["embeddedContext"] is True
    assert told["agentCapabilities"]["sessionCapabilities"] == {"close": {}}
    assert told["agentCapabilities"]["_meta"] == told["_meta"] == {"clawdforge": {"schema": True}}
    assert told["authMethods"] == []


def test_the_history_and_the_system_prompt_reach_the_model(client: AcpLines, model: Any) -> None:
    session = client.new(_meta={"systemPrompt": "Be brief."})
    client.prompt(session, "one")
    client.prompt(session, "two")

    assert [roles(messages) for messages, _ in model.asked] == [
        [("system", "Be brief."), ("user", "one")],
        [("system", "Be brief."), ("user", "one"), ("assistant", "an answer"), ("user", "two")],
    ]


def test_sessions_share_no_history(client: AcpLines, model: Any) -> None:
    client.prompt(client.new(), "mine")
    client.prompt(client.new(), "yours")

    assert "mine" not in str(model.asked[-1])


def test_an_answer_is_streamed_piece_by_piece_under_one_id(client: AcpLines) -> None:
    session = client.new()
    _, result = client.prompt(session, "one")
    client.prompt(session, "two")

    assert [each["update"]["content"]["text"] for each in client.updates] == ["an ", "answer"] * 2
    assert {each["sessionId"] for each in client.updates} == {session}
    first, same, second, _ = (each["update"]["messageId"] for each in client.updates)
    assert first == same != second
    assert result == {
        "stopReason": "end_turn",
        "usage": {"inputTokens": 7, "outputTokens": 2, "totalTokens": 9},
    }


def test_a_schema_holds_for_its_prompt_alone(client: AcpLines, model: Any) -> None:
    model.pieces = ('{"a":', "1}")
    session = client.new()
    text, _ = client.prompt(session, "one", **WITH_SCHEMA)
    client.prompt(session, "two")

    assert text == '{"a":1}'
    assert [schema for _, schema in model.asked] == [SCHEMA, None]


def test_a_schema_that_is_none_is_refused(client: AcpLines, model: Any) -> None:
    request = client.start_prompt(client.new(), "one", _meta={"clawdforge": {"schema": [1]}})

    assert client.answer(request)["error"]["code"] == -32602
    assert not model.asked


def test_a_result_that_was_cut_short_says_so(client: AcpLines, model: Any) -> None:
    model.pieces, model.reply = ('{"a":',), Reply("max_tokens", Usage(7, 512))

    text, result = client.prompt(client.new(), "one", **WITH_SCHEMA)

    assert (text, result["stopReason"]) == ('{"a":', "max_tokens")


@pytest.mark.parametrize("pieces", [("no JSON",), ('{"a":',), (), ("[" * 5000,)])
def test_a_result_that_ended_and_is_no_json_is_an_error(client: AcpLines, model: Any, pieces: Any) -> None:
    model.pieces = pieces

    answer = client.answer(client.start_prompt(client.new(), "one", **WITH_SCHEMA))

    assert answer["error"]["code"] == -32603


def test_a_cancel_ends_an_answer_and_the_session_goes_on(client: AcpLines, model: Any) -> None:
    model.until_cancelled = True
    session = client.new()
    request = client.start_prompt(session, "one")
    client.until_updates(2)
    client.notify("session/cancel", sessionId=session)
    assert client.answer(request)["result"] == {"stopReason": "cancelled"}

    model.until_cancelled = False
    assert client.prompt(session, "two")[1]["stopReason"] == "end_turn"
    assert ("assistant", "an answer") in roles(model.asked[-1][0]), "what was said before the cancel is remembered"


def test_a_prompt_that_waits_for_the_model_is_cancelled_at_once(client: AcpLines, model: Any) -> None:
    model.until_cancelled = True
    first, second = client.new(), client.new()
    running = client.start_prompt(first, "one")
    client.until_updates(2)
    waiting = client.start_prompt(second, "two")
    client.notify("session/cancel", sessionId=second)

    assert client.answer(waiting)["result"] == {"stopReason": "cancelled"}
    client.notify("session/cancel", sessionId=first)
    assert client.answer(running)["result"] == {"stopReason": "cancelled"}
    assert len(model.asked) == 1


def test_a_cancel_without_a_turn_or_a_session_does_nothing(client: AcpLines) -> None:
    session = client.new()
    client.notify("session/cancel", sessionId=session)
    client.notify("session/cancel", sessionId="none")
    client.notify("session/cancel")

    assert client.prompt(session, "one")[1]["stopReason"] == "end_turn"


def test_one_prompt_at_a_time(client: AcpLines, model: Any) -> None:
    model.until_cancelled = True
    session = client.new()
    running = client.start_prompt(session, "one")
    client.until_updates(2)

    refused = client.answer(client.start_prompt(session, "two"))["error"]
    assert refused["code"] == -32600
    client.notify("session/cancel", sessionId=session)
    assert client.answer(running)["result"]["stopReason"] == "cancelled"


def test_a_closed_session_ends_its_prompt_and_is_gone(client: AcpLines, model: Any) -> None:
    model.until_cancelled = True
    session = client.new()
    running = client.start_prompt(session, "one")
    client.until_updates(2)

    assert client.call("session/close", sessionId=session) == {}
    assert client.answer(running)["result"]["stopReason"] == "cancelled"
    assert client.fails("session/close", sessionId=session)["code"] == -32602


@pytest.mark.parametrize("needed", [3631, None])
def test_a_conversation_that_no_longer_fits_says_so_and_stays_whole(
    client: AcpLines, model: Any, needed: Any
) -> None:
    session = client.new()
    client.prompt(session, "one")
    model.pieces, model.error = (), WindowFull(needed, 2048)
    text, result = client.prompt(session, "too long")
    assert result == {"stopReason": "max_tokens"}
    assert "2048" in text
    assert "new session" in text

    model.pieces, model.error = ("fine",), None
    client.prompt(session, "two")
    assert [content for _, content in roles(model.asked[-1][0])][1:] == ["one", "an answer", "two"]


def test_a_first_prompt_that_does_not_fit_is_told_to_be_shorter(client: AcpLines, model: Any) -> None:
    model.pieces, model.error = (), WindowFull(3631, 2048)

    text, _ = client.prompt(client.new(), "too long")

    assert "3631" in text
    assert "shorter" in text


@pytest.mark.parametrize(
    ("error", "code"),
    [(RequestRefused("schema?"), -32602), (ModelFailed("no memory"), -32603), (KeyError("a bug"), -32603)],
)
def test_a_failure_is_answered_and_the_session_goes_on(
    client: AcpLines, model: Any, error: Any, code: int
) -> None:
    session = client.new()
    model.error = error
    assert client.answer(client.start_prompt(session, "one"))["error"]["code"] == code

    model.error = None
    client.prompt(session, "two")
    assert [content for _, content in roles(model.asked[-1][0])][1:] == ["two"]


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("session/load", {}, -32601),
        ("x" * 10_000, {}, -32601),
        ("session/prompt", {"sessionId": "none", "prompt": []}, -32602),
        ("session/prompt", {"prompt": []}, -32602),
        ("session/close", {"sessionId": ["none"]}, -32602),
    ],
)
def test_wrong_requests(client: AcpLines, method: str, params: dict[str, Any], code: int) -> None:
    error = client.fails(method, **params)

    assert error["code"] == code
    assert len(error["message"]) < 1000


def test_params_that_are_no_object(client: AcpLines) -> None:
    client.send_line(b'{"jsonrpc":"2.0","id":900,"method":"initialize","params":[1]}\n')

    assert client.answer(900)["error"]["code"] == -32602


def test_what_is_no_message_is_told_on_stderr_and_passed_over(client: AcpLines, capfd: Any) -> None:
    deep = b"[" * 100_000
    for line in (b"log line", b"123", b"[]", b"", b"\xff\xfe", b"{", deep, b'{"id":1,"result":{}}', b'{"a":"b"}'):
        client.send_line(line + b"\n")

    assert client.call("initialize")["protocolVersion"] == 1
    assert capfd.readouterr().err.count("no JSON-RPC message") == 7
