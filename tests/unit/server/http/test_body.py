"""The door for JSON: what it refuses, with which status, and that nothing else gets through."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from clawdforge.server.http import body
from clawdforge.server.http.problems import Answer, Front
from clawdforge.server.settings import Settings
from clawdforge.wire import codec
from clawdforge.wire.problems import Problem
from clawdforge.wire.runs import RunRequest
from clawdforge.wire.sessions import SessionCreate

JSON = "Content-Type: application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Anything:
    """A wire type with room for any JSON."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    value: Any = None
    count: int = 0


class Reader:
    """An application that reads one JSON body and says what it read; `gone` is set when a client left."""

    def __init__(self, kind: type[Any], *, optional: bool = False, **settings: Any) -> None:
        self.kind = kind
        self.optional = optional
        self.settings = Settings(**settings)
        self.ended = asyncio.Event()
        self.outcome: BaseException | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            value = await body.read_json(Request(scope, receive), self.kind, self.settings, optional=self.optional)
        except BaseException as outcome:
            self.outcome = outcome
            raise
        finally:
            self.ended.set()
        await Answer(codec.dumps(dataclasses.asdict(value)))(scope, receive, send)


def parse(raw: bytes, kind: type[Any] = Anything) -> Any:
    return body.parse(raw, kind)


def refused(raw: bytes, kind: type[Any] = Anything) -> Problem:
    with pytest.raises(Problem) as caught:
        parse(raw, kind)
    return caught.value


# --- strict JSON -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (b'{"value": "\xff"}', "the body is not UTF-8, at byte 11"),
        (b'{"value": "\xed\xa0\x80"}', "the body is not UTF-8, at byte 11"),
        (b'\xef\xbb\xbf{"value": 1}', "the body starts with a byte order mark, at byte 0"),
        (b"nonsense", "the body is not JSON: expecting value, at byte 0"),
        ('{"value": "é" 1}'.encode(), "the body is not JSON: expecting ',' delimiter, at byte 15"),
        (b'{"value": 1} x', "the body is not JSON: extra data, at byte 13"),
        (b"{'value': 1}", "the body is not JSON: expecting property name enclosed in double quotes, at byte 1"),
        (b'{"value": "a\nb"}', "the body is not JSON: invalid control character, at byte 12"),
        (b'{"value": "a\0b"}', "the body is not JSON: invalid control character, at byte 12"),
        (b'{"value": 1, "value": 2}', "the key 'value' stands twice in one object, at the root"),
        (b'{"value": [0, {"a": {"b": 1, "b": 1}}]}', "the key 'b' stands twice in one object, at value[1].a"),
        (b'{"value": 1, "v\\u0061lue": 2}', "the key 'value' stands twice in one object, at the root"),
        (b'{"value": NaN}', "a number is not finite, at value"),
        (b'{"value": [1, -Infinity]}', "a number is not finite, at value[1]"),
        (b'{"value": 1e999}', "a number is not finite, at value"),
        (b'{"value": "a\\u0000"}', "a text contains NUL, at value"),
        (b'{"value": {"a\\u0000": 1}}', "a text contains NUL, at value"),
        (b'{"value": {"a b": "\\ud800"}}', "a text contains half of a surrogate pair, at value['a b']"),
        (b'{"value": {"\\udc00x": 1}}', "a text contains half of a surrogate pair, at value"),
        (b'{"value": 9223372036854775808}', "an integer has more than 64 bits, at value"),
        (b'{"value": -9223372036854775809}', "an integer has more than 64 bits, at value"),
        (b'{"value": ' + b"9" * 5000 + b"}", "an integer has more than 64 bits, at value"),
        (b"[" * 100_000 + b"]" * 100_000, "the body is nested deeper than 100"),
        (b'{"value":' * 100_000, "the body is nested deeper than 100"),
        (b"[" * 102 + b"]" * 102, "the body is nested deeper than 100, at [0][0][0][0][0].…[0][0][0][0][0]"),
        (b"[" + b"0," * 100_000 + b"0]", "the body has more than 100000 values, at the root"),
    ],
)
def test_what_is_no_strict_json_is_a_bad_request_that_says_what_and_where(raw: bytes, sentence: str) -> None:
    problem = refused(raw)
    assert (problem.status, problem.detail) == (400, sentence)


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b'{"value": "\\ud83d\\ude00"}', "\U0001f600"),
        (b'{"value": "\\\\u0000"}', "\\u0000"),
        (b'{"value": [9223372036854775807, -9223372036854775808]}', [2**63 - 1, -(2**63)]),
        (b' \t\r\n{"value": -0.5e-3}\n', -0.0005),
        (b'{"value": {"": {"": null}}}', {"": {"": None}}),
        (b'{"value":' + b"[" * 99 + b"]" * 99 + b"}", json.loads("[" * 99 + "]" * 99)),
    ],
)
def test_strict_json_at_its_limits_is_read(raw: bytes, value: Any) -> None:
    assert parse(raw) == Anything(value=value)


def test_a_key_that_stands_twice_is_shown_short_and_printable() -> None:
    name = "\x1b[31m" + "x" * 5_000
    raw = b'{"value": {%s: 1, %s: 2}}' % ((json.dumps(name).encode(),) * 2)
    assert len(refused(raw).detail) < 200
    assert "\x1b" not in refused(raw).detail


# --- wire values -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "loc", "message"),
    [
        (b'{"count": "12"}', ["count"], "Input should be a valid integer"),
        (b'{"count": true}', ["count"], "Input should be a valid integer"),
        (b'{"count": 1.0}', ["count"], "Input should be a valid integer"),
        (b'{"count": null}', ["count"], "Input should be a valid integer"),
        (b'{"counts": 1}', ["counts"], "unknown field"),
        (b"[]", [], "Input should be an object"),
        (b'"text"', [], "Input should be an object"),
    ],
)
def test_a_wrong_type_is_not_coerced(raw: bytes, loc: list[str], message: str) -> None:
    problem = refused(raw)
    assert problem.code == "invalid"
    assert problem.extra["errors"] == [{"loc": loc, "message": message}]


def test_errors_name_each_fault_but_never_the_value() -> None:
    secret = "sk-very-secret"
    problem = refused(
        json.dumps({"prompt": [secret], "timeout_secs": 0, "effort": secret, secret * 100: secret}).encode(),
        RunRequest,
    )
    errors = {tuple(error["loc"]): error["message"] for error in problem.extra["errors"]}
    assert set(errors) == {("prompt",), ("timeout_secs",), ("effort",), ((secret * 100)[: body.MAX_NAME_CHARS],)}
    assert not any(secret in message for message in errors.values())
    assert problem.detail.endswith("(and 3 more)")


def test_errors_are_few_however_many_faults_there_are() -> None:
    some = refused(json.dumps({"prompt": "x", "files": [1] * 100}).encode(), RunRequest)
    assert len(some.extra["errors"]) == body.MAX_ERRORS
    many = refused(json.dumps({"prompt": "x", "files": [1] * 50_000}).encode(), RunRequest)
    assert many.extra["errors"] == [{"loc": [], "message": "the body has 50000 faults"}]


# --- over a socket -----------------------------------------------------------------------------------------


async def test_a_body_is_read_whole_also_in_chunks(serve, raw) -> None:
    server = await serve(Front(Reader(RunRequest)))
    prompt = "größer als ½\n" * 200_000
    data = json.dumps({"prompt": prompt}).encode()
    assert (await server.ask(raw("POST", "/", JSON, body=data))).json["prompt"] == prompt
    chunked = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (data[:7], data[7:1000], data[1000:]))
    reply = await server.ask(raw("POST", "/", JSON, "Transfer-Encoding: chunked") + chunked + b"0\r\n\r\n")
    assert reply.json["prompt"] == prompt


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "application/json; charset=utf-8",
        'Application/JSON;charset="UTF-8"',
        "application/json;",
    ],
)
async def test_json_in_utf8_is_the_one_content_type(serve, raw, content_type: str) -> None:
    server = await serve(Front(Reader(Anything)))
    assert (await server.ask(raw("POST", "/", f"Content-Type: {content_type}", body=b"{}"))).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        (),
        ("Content-Type:",),
        ("Content-Type: text/plain",),
        ("Content-Type: application/x-www-form-urlencoded",),
        ("Content-Type: application/jsonx",),
        ("Content-Type: application/json; charset=utf-16",),
        (JSON, "Content-Encoding: gzip"),
        (JSON, "Content-Encoding: br, gzip"),
    ],
)
async def test_another_content_type_or_encoding_is_415(serve, raw, headers: tuple[str, ...]) -> None:
    server = await serve(Front(Reader(Anything)))
    reply = await server.ask(raw("POST", "/", *headers, body=b"{}"))
    assert (reply.status, reply.code) == (415, "unsupported_media_type")
    assert reply.headers["connection"] == "close"


async def test_a_content_type_that_stands_twice_is_400(serve, raw) -> None:
    server = await serve(Front(Reader(Anything)))
    reply = await server.ask(raw("POST", "/", JSON, JSON, body=b"{}"))
    assert (reply.status, reply.code) == (400, "bad_request")


async def test_no_body_is_400_but_for_a_route_that_can_do_without(serve, raw) -> None:
    strict = await serve(Front(Reader(SessionCreate)))
    assert (await strict.ask(raw("POST", "/"))).code == "bad_request"
    assert (await strict.ask(raw("POST", "/", JSON, length=0))).code == "bad_request"
    lenient = await serve(Front(Reader(SessionCreate, optional=True)))
    assert (await lenient.ask(raw("POST", "/"))).json["agent"] == "claude"
    assert (await lenient.ask(raw("POST", "/", JSON, length=0))).json["agent"] == "claude"
    chunked = raw("POST", "/", JSON, "Transfer-Encoding: chunked") + b"0\r\n\r\n"
    assert (await lenient.ask(chunked)).json["agent"] == "claude"


async def test_a_declared_300_mb_is_413_before_any_of_it_is_read(serve, raw) -> None:
    server = await serve(Front(Reader(Anything)))
    reply = await server.ask(raw("POST", "/", JSON, length=300_000_000))
    assert (reply.status, reply.code) == (413, "too_large")
    assert reply.headers["connection"] == "close"


async def test_100_continue_is_not_said_to_a_body_that_is_refused(serve, raw) -> None:
    server = await serve(Front(Reader(Anything)))
    reply = await server.ask(raw("POST", "/", JSON, "Expect: 100-continue", length=300_000_000))
    assert reply.status == 413
    connection = await server.connect()
    await connection.send(raw("POST", "/", JSON, "Expect: 100-continue", length=2))
    assert await connection.reader.readline() == b"HTTP/1.1 100 Continue\r\n"
    assert await connection.reader.readline() == b"\r\n"
    assert (await connection.ask(b"{}")).status == 200


async def test_an_undeclared_body_is_413_at_the_counted_byte(serve, raw) -> None:
    server = await serve(Front(Reader(Anything, max_json_bytes=5_000)))
    connection = await server.connect()
    chunk = b"400\r\n" + b" " * 1024 + b"\r\n"
    reply = await connection.ask(raw("POST", "/", JSON, "Transfer-Encoding: chunked") + chunk * 5)
    assert (reply.status, reply.code) == (413, "too_large")
    assert reply.headers["connection"] == "close"


async def test_a_body_slower_than_the_pace_is_408(serve, raw) -> None:
    server = await serve(Front(Reader(Anything, head_timeout_secs=0.2, min_body_bytes_per_sec=1_000_000)))
    connection = await server.connect()
    await connection.send(raw("POST", "/", JSON, length=1_000) + b'{"value": ')
    reply = await connection.reply()
    assert (reply.status, reply.code) == (408, "request_timeout")
    assert reply.headers["connection"] == "close"


async def test_a_byte_now_and_then_does_not_reset_the_clock() -> None:
    """A trickle that would satisfy a clock per read: the time waited adds up, minus what the bytes have earned."""
    clock = asyncio.get_running_loop()
    settings = Settings(head_timeout_secs=0.2, min_body_bytes_per_sec=1_000_000)

    async def one_byte_each_tenth_of_the_patience() -> dict[str, Any]:
        wake: asyncio.Future[None] = clock.create_future()
        clock.call_later(0.02, wake.set_result, None)
        await wake
        return {"type": "http.request", "body": b" ", "more_body": True}

    scope = {"type": "http", "headers": []}
    inflow = body.Inflow(Request(scope, one_byte_each_tenth_of_the_patience), 1_000, settings)
    with pytest.raises(Problem) as caught:
        for _ in range(100):
            await inflow.next()
    assert caught.value.code == "request_timeout"
    assert inflow.counted_bytes < 100


async def test_megabytes_at_once_do_not_earn_an_hour_of_silence(serve, raw) -> None:
    server = await serve(Front(Reader(Anything, head_timeout_secs=0.05, min_body_bytes_per_sec=1)))
    reply = await server.ask(raw("POST", "/", JSON, length=2_000_000) + b" " * 1_000_000)
    assert (reply.status, reply.code) == (408, "request_timeout")


@pytest.mark.parametrize("sent", [b"", b'{"value": 1'])
async def test_a_client_that_leaves_before_its_body_is_whole_ends_the_request_quietly(
    serve, raw, caplog, sent
) -> None:
    reader = Reader(Anything)
    server = await serve(Front(reader))
    connection = await server.connect()
    await connection.send(raw("POST", "/", JSON, length=12) + sent)
    await connection.close()
    async with asyncio.timeout(10):
        await reader.ended.wait()
    assert type(reader.outcome).__name__ == "ClientDisconnect"
    assert (await server.ask(raw("POST", "/", JSON, body=b"{}"))).status == 200
    assert not caplog.records


# --- whatever comes ----------------------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
json_like = json_values.map(lambda value: json.dumps({"value": value}).encode())
raw_bodies = (
    st.binary(max_size=200)
    | st.text(alphabet='{}[]:,"\\u0dD8aeE+-.1 \n', max_size=60).map(str.encode)
    | json_like
    | st.tuples(json_like, st.integers(0, 60), st.binary(max_size=3)).map(
        lambda t: t[0][: t[1]] + t[2] + t[0][t[1] :]
    )
)


@given(raw_bodies)
def test_any_bytes_are_a_value_or_400_or_422(raw: bytes) -> None:
    try:
        value = parse(raw)
    except Problem as problem:
        assert problem.status in (400, 422)
        assert json.loads(codec.dumps(problem.body("req_1")))["code"] == problem.code
        return
    again = codec.dumps(dataclasses.asdict(value))
    assert parse(again) == value
    assert json.loads(again) == {"value": None, "count": 0} | json.loads(raw)


@given(
    st.binary(max_size=40) | json_like,
    st.sampled_from([b"application/json", b"text/plain", b"", None, b"application/json; charset=\xff"]),
    st.sampled_from([None, b"identity", b"gzip", b"\xff"]),
    st.sampled_from([None, b"0", b"7", b"2000"]),
    st.integers(1, 3),
)
def test_any_request_is_a_value_or_400_413_415_422(
    data: bytes, content_type: bytes | None, encoding: bytes | None, length: bytes | None, pieces: int
) -> None:
    named = {b"content-type": content_type, b"content-encoding": encoding, b"content-length": length}
    scope = {"type": "http", "headers": [(name, value) for name, value in named.items() if value is not None]}
    size = len(data) // pieces + 1
    chunks = [data[start : start + size] for start in range(0, len(data) + 1, size)]
    messages = [
        {"type": "http.request", "body": chunk, "more_body": number < len(chunks)}
        for number, chunk in enumerate(chunks, start=1)
    ]

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    async def ask() -> Any:
        return await body.read_json(Request(scope, receive), Anything, Settings(max_json_bytes=1_024))

    try:
        assert isinstance(asyncio.run(ask()), Anything)
    except Problem as problem:
        assert problem.status in (400, 413, 415, 422)
