"""The JSON-RPC peer: order, stray answers, and text that must not get further."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawdforge.server.agents.rpc import Gone, Peer, Reply, RpcError, _mending, parse


class Ear:
    """Remembers what a peer tells, in order."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, Any]] = []
        self.replies: list[Reply] = []

    def on_notification(self, method: str, params: dict[str, Any]) -> None:
        self.heard.append((method, params))

    def on_request(self, method: str, params: dict[str, Any], reply: Reply) -> None:
        self.heard.append((method, params))
        self.replies.append(reply)

    def on_noise(self, line: bytes) -> None:
        self.heard.append(("noise", line))


@pytest.fixture
def ear() -> Ear:
    return Ear()


@pytest.fixture
def sent() -> list[bytes]:
    return []


@pytest.fixture
def peer(ear: Ear, sent: list[bytes]) -> Peer:
    return Peer(sent.append, ear)


def line(**message: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", **message}).encode()


def test_an_answer_is_told_before_the_next_line_is_read(peer: Peer, ear: Ear) -> None:
    peer.request("prompt", {}, lambda answer: ear.heard.append(("answer", answer)))
    peer.feed(line(method="update", params={"n": 1}))
    peer.feed(line(id=1, result={"ok": 1}))
    peer.feed(line(method="update", params={"n": 2}))
    assert ear.heard == [("update", {"n": 1}), ("answer", {"ok": 1}), ("update", {"n": 2})]


async def test_a_call_returns_the_result_or_raises_the_error(peer: Peer) -> None:
    good, bad = asyncio.ensure_future(peer.call("a", {})), asyncio.ensure_future(peer.call("b", {}))
    await asyncio.sleep(0)
    peer.feed(line(id=2, error={"code": -32603, "message": "Internal error", "data": {"details": "why"}}))
    peer.feed(line(id=1, result=None))
    assert await good is None
    with pytest.raises(RpcError, match="Internal error") as raised:
        await bad
    assert str(raised.value) == "Internal error (why)"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"message": "why", "info": "other"}, "Internal error (why)"),
        ("why", "Internal error (why)"),
        ({"details": ["why"]}, "Internal error"),
        ("", "Internal error"),
        (7, "Internal error"),
    ],
)
def test_what_an_error_says_beside_its_message_is_told(data: Any, said: str) -> None:
    assert str(RpcError(-32603, "Internal error", data)) == said


@pytest.mark.parametrize("error", ["text", 7, [], {}, {"code": "x", "message": None}])
async def test_an_error_of_any_shape_is_an_error(peer: Peer, error: Any) -> None:
    call = asyncio.ensure_future(peer.call("a", {}))
    await asyncio.sleep(0)
    peer.feed(line(id=1, error=error))
    with pytest.raises(RpcError):
        await call


@pytest.mark.parametrize("stray", [99, "1", 1.0, True, None, [1], {}])
def test_an_answer_that_nobody_asked_for_is_noise(peer: Peer, ear: Ear, stray: Any) -> None:
    peer.request("a", {}, lambda answer: ear.heard.append(("answer", answer)))
    peer.feed(line(id=stray, result={}))
    assert [kind for kind, _ in ear.heard] == ["noise"]


def test_the_second_answer_to_one_request_is_noise(peer: Peer, ear: Ear) -> None:
    peer.request("a", {}, lambda answer: ear.heard.append(("answer", answer)))
    peer.feed(line(id=1, result=1))
    peer.feed(line(id=1, result=2))
    assert [kind for kind, _ in ear.heard] == ["answer", "noise"]


@pytest.mark.parametrize("request_id", [0, 7, "a string", ""])
def test_answers_a_request_once_under_its_own_id(
    peer: Peer, ear: Ear, sent: list[bytes], request_id: int | str
) -> None:
    peer.feed(line(id=request_id, method="ask", params={}))
    ear.replies[0].result({"yes": 1})
    ear.replies[0].error(1, "never sent")
    assert [json.loads(each) for each in sent] == [{"jsonrpc": "2.0", "id": request_id, "result": {"yes": 1}}]


def test_a_flood_of_requests_is_answered_with_errors(peer: Peer, ear: Ear, sent: list[bytes]) -> None:
    for number in range(300):
        peer.feed(line(id=number, method="ask"))
    assert len(ear.replies) == 256
    assert len(sent) == 300 - 256
    assert b"too many requests" in sent[0]


def test_after_the_end_every_request_is_told_so(peer: Peer) -> None:
    answers: list[Any] = []
    peer.request("a", {}, answers.append)
    peer.close("gone")
    peer.close("twice")
    peer.request("b", {}, answers.append)
    assert [type(each) for each in answers] == [Gone, Gone]
    assert str(answers[0]) == "gone"


@pytest.mark.parametrize(
    "noise",
    [b"log line", b"123", b"[]", b"null", b'"text"', b"\x1b[31mred\x1b[0m", b"\xff\xfe", b'{"a":', b"{}{}"],
)
def test_a_line_that_is_no_message_is_noise(peer: Peer, ear: Ear, noise: bytes) -> None:
    peer.feed(noise)
    assert ear.heard == [("noise", noise)]


def test_what_no_database_can_hold_is_mended() -> None:
    raw = rb'{"method":"m","params":{"t":"a\u0000b\ud83d\ude00\ud800c\uDFFF","\u0000k":["\u0000"],"n":NaN}}'
    message = parse(raw)
    assert message is not None
    assert message["params"] == {"t": "a�b😀�c�", "�k": ["�"], "n": None}


@pytest.mark.parametrize("raw", [b'{"a":' * 200_000 + b"1" + b"}" * 200_000, b'{"n":' + b"9" * 10_000 + b"}"])
def test_json_made_to_break_parsers_is_noise(raw: bytes) -> None:
    assert parse(raw) is None


def test_numbers_that_json_cannot_say_again_become_null() -> None:
    assert parse(b'{"a": [1e999, -1e999, 1e308, NaN, -Infinity]}') == {"a": [None, None, 1e308, None, None]}


@pytest.mark.parametrize("depth", [199, 200, 201, 500, 960, 990])
@pytest.mark.parametrize("nested", ["[%s]", '{"a":%s}'])
def test_what_is_nested_too_deep_is_noise_long_before_an_encoder_gives_up(depth: int, nested: str) -> None:
    opening, closing = nested.split("%s")
    raw = f'{{"v":{opening * depth}1{closing * depth}}}'.encode()
    assert (parse(raw) is None) is (depth >= 200)


def test_width_is_not_depth() -> None:
    assert parse(b'{"v":[' + b"[1]," * 50_000 + b"[1]]}") is not None


@given(st.binary(max_size=200))
def test_any_bytes_become_an_object_or_nothing(raw: bytes) -> None:
    message = parse(raw)
    assert message is None or isinstance(message, dict)


@given(st.dictionaries(st.text(), st.text(), max_size=5))
def test_whatever_is_parsed_can_be_encoded(message: dict[str, str]) -> None:
    parsed = parse(json.dumps(message).encode())
    assert parsed is not None
    json.dumps(parsed, ensure_ascii=False).encode()


NUMBERS = st.from_regex(r"\A-?(0|[1-9][0-9]{0,400})(\.[0-9]{1,5})?([eE][+-]?[0-9]{1,4})?\Z")
VALUES = st.one_of(st.text().map(json.dumps), NUMBERS, st.sampled_from(["NaN", "Infinity", "true", "null"]))


@given(st.lists(VALUES, max_size=4), st.sampled_from(["", ', "v": 1', ', "w": {"v": []} ']))
def test_the_quick_way_finds_what_the_mending_one_does(values: list[str], more: str) -> None:
    raw = f'{{"v": [{",".join(values)}]{more}}}'.encode(errors="surrogatepass")
    assert parse(raw) == _mending(raw)
