"""What a connection may do, byte by byte."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

import pytest
from starlette.requests import Request

from clawdforge.server.http import body, limits
from clawdforge.server.http.problems import Answer, Front
from clawdforge.server.settings import Settings

LARGE_BYTES = 32 * 1024 * 1024  # more than the sockets hold
ONE_READ_BYTES = 256 * 1024  # what asyncio reads at once: so much may come beyond a limit before it is noticed


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers with what it was asked, headers and body."""
    request = Request(scope, receive)
    data = await body.read(request, 10_000_000, Settings())
    told = {
        "method": scope["method"],
        "path": scope["path"],
        "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]],
        "body": data.decode("latin-1"),
        "client": scope["client"],
    }
    await Answer(json.dumps(told).encode())(scope, receive, send)


class Gated:
    """Reads its request, says so, and answers when it is told to."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.answer = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await body.read(Request(scope, receive), 10_000, Settings())
        self.asked.set()
        await self.answer.wait()
        await Answer(b'"done"')(scope, receive, send)


# --- heads -------------------------------------------------------------------------------------------------


async def test_a_head_up_to_the_limit_is_read_and_one_over_it_is_431(serve, raw) -> None:
    server = await serve(Front(echo), max_head_bytes=4_096)
    assert (await server.ask(raw("GET", "/", "X: " + "a" * 4_000))).status == 200
    reply = await server.ask(raw("GET", "/", "X: " + "a" * 4_100))
    assert (reply.status, reply.code) == (431, "headers_too_large")
    assert reply.headers["connection"] == "close"
    assert (await server.ask(raw("GET", "/" + "a" * 5_000))).status == 431
    assert (await server.ask(raw("GET", "/", *(f"X{n}: y" for n in range(1_000))))).status == 431


@pytest.mark.parametrize("begin", [b"GET /", b"GET / HTTP/1.1\r\nX: ", b"GET / HTTP/1.1\r\n", b"\r\n"])
async def test_a_head_that_never_ends_is_refused_while_it_comes(serve, begin: bytes) -> None:
    server = await serve(Front(echo), max_head_bytes=4_096)
    connection = await server.connect()
    filler = b"\r\n" if begin == b"\r\n" else b"aa"
    reply = await connection.ask(begin + filler * ONE_READ_BYTES)
    assert (reply.status, reply.code) == (431, "headers_too_large")
    assert await connection.rest() == b""


async def test_a_megabyte_of_token_is_a_head_that_is_too_large(serve, raw) -> None:
    server = await serve(Front(echo))
    assert (await server.ask(raw("GET", "/", "Authorization: Bearer " + "a" * 1_000_000))).status == 431


@pytest.mark.parametrize("begin", [b"G", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nX: y"])
async def test_a_slow_head_is_408(serve, begin: bytes) -> None:
    server = await serve(Front(echo), head_timeout_secs=0.2)
    reply = await server.ask(begin)
    assert (reply.status, reply.code) == (408, "request_timeout")
    assert reply.headers["connection"] == "close"


async def test_a_byte_now_and_then_does_not_keep_a_head_alive(serve) -> None:
    server = await serve(Front(echo), head_timeout_secs=0.3)
    connection = await server.connect()
    answer = asyncio.create_task(connection.reply())
    sent = 0
    while not answer.done() and sent < 10_000:
        await connection.send(b"GET / HTTP/1.1\r\nX: "[sent : sent + 1] or b"y")
        sent += 1
        await asyncio.wait([answer], timeout=0.02)
    assert (await answer).status == 408


async def test_a_connection_that_says_nothing_is_closed_without_a_word(serve) -> None:
    server = await serve(Front(echo), head_timeout_secs=0.2)
    assert await (await server.connect()).rest() == b""


async def test_the_next_request_of_a_connection_has_the_same_limits(serve, raw) -> None:
    server = await serve(Front(echo), head_timeout_secs=0.2, max_head_bytes=2_000)
    for begin, status in [(b"GET / HT", 408), (b"\r\n", None), (raw("GET", "/", "X: " + "a" * 3_000), 431)]:
        connection = await server.connect()
        assert (await connection.ask(raw("GET", "/"))).status == 200
        await connection.send(begin)
        if status is None:
            assert await connection.rest() == b""
        else:
            assert (await connection.reply()).status == status


async def test_the_clock_of_a_head_stops_with_the_head(serve, raw) -> None:
    gated = Gated()
    server = await serve(Front(gated), head_timeout_secs=0.1)
    connection = await server.connect()
    await connection.send(raw("GET", "/"))
    await gated.asked.wait()
    silent = await server.connect()
    assert await silent.rest() == b""  # a whole head_timeout has gone by since
    gated.answer.set()
    assert (await connection.reply()).status == 200


# --- malformed requests ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\nHost: test\n\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: a\0b\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: a\r\n b\r\n\r\n",
        b"GET / HTTP/1.1\r\nX : a\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\na",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\nabc",
        b"CONNECT example.org:443 HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_the_contracts_400(serve, data: bytes) -> None:
    server = await serve(Front(echo))
    connection = await server.connect()
    reply = await connection.ask(data)
    assert (reply.status, reply.code) == (400, "bad_request")
    assert reply.headers["connection"] == "close"
    assert await connection.rest() == b""


@pytest.mark.parametrize("protocol", ["websocket", "h2c"])
async def test_no_connection_is_upgraded(serve, raw, protocol: str) -> None:
    server = await serve(Front(echo))
    reply = await server.ask(raw("POST", "/", "Connection: Upgrade", f"Upgrade: {protocol}", body=b"{}"))
    assert (reply.status, reply.code) == (400, "bad_request")
    assert "upgraded" in reply.json["detail"]


async def test_bytes_beyond_content_length_cost_the_connection_not_the_answer(serve, raw) -> None:
    server = await serve(Front(echo))
    connection = await server.connect()
    reply = await connection.ask(raw("POST", "/", body=b"whole") + b"\x00 and some more")
    assert (reply.status, reply.json["body"]) == (200, "whole")
    assert await connection.rest() == b""


async def test_a_broken_chunk_ends_a_request_that_has_begun(serve, raw) -> None:
    server = await serve(Front(echo))
    connection = await server.connect()
    reply = await connection.ask(raw("POST", "/", "Transfer-Encoding: chunked") + b"3\r\nabc\r\nnonsense\r\n")
    assert (reply.status, reply.code) == (400, "bad_request")
    assert await connection.rest() == b""


async def test_trailers_do_not_become_headers(serve, raw) -> None:
    server = await serve(Front(echo))
    trailer = b"3\r\nabc\r\n0\r\nAuthorization: Bearer smuggled\r\n\r\n"
    reply = await server.ask(raw("POST", "/", "Transfer-Encoding: chunked") + trailer)
    assert reply.json["body"] == "abc"
    assert "smuggled" not in reply.body.decode()


@pytest.mark.parametrize("endless", [b"3;ext=", b"0\r\nTrailer: "])
async def test_an_endless_chunk_extension_or_trailer_is_cut_off(serve, raw, endless: bytes) -> None:
    server = await serve(Front(echo), max_head_bytes=4_096)
    connection = await server.connect()
    head = raw("POST", "/", "Transfer-Encoding: chunked")
    assert (await connection.ask(head + endless + b"aa" * ONE_READ_BYTES)).status == 431


# --- connections -------------------------------------------------------------------------------------------


async def test_requests_are_answered_one_after_the_other_on_one_connection(serve, raw) -> None:
    server = await serve(Front(echo))
    connection = await server.connect()
    for number in range(3):
        assert (await connection.ask(raw("POST", f"/{number}", body=b"x" * number))).json["path"] == f"/{number}"
    await connection.send(b"".join(raw("POST", f"/{number}", body=b"x") for number in range(5)))
    assert [(await connection.reply()).json["path"] for _ in range(5)] == [f"/{number}" for number in range(5)]


async def test_the_peers_address_is_the_sockets_own(serve, raw) -> None:
    server = await serve(Front(echo))
    reply = await server.ask(raw("GET", "/", "X-Forwarded-For: 10.0.0.1", "Forwarded: for=10.0.0.1"))
    assert reply.json["client"][0] == "127.0.0.1"


async def test_the_server_does_not_say_what_it_is(serve, raw) -> None:
    server = await serve(Front(echo))
    assert "server" not in (await server.ask(raw("GET", "/"))).headers


async def test_answers_do_not_wait_for_acknowledgements(serve, raw) -> None:
    server = await serve(Front(echo))
    await server.ask(raw("GET", "/"))
    connection = await server.connect()
    await connection.ask(raw("GET", "/"))
    (served,) = [each for each in server.uvicorn.server_state.connections if not each.transport.is_closing()][-1:]
    assert served.transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_head_and_body_of_an_answer_leave_in_one_write(serve, raw, monkeypatch) -> None:
    server = await serve(Front(echo))
    connection = await server.connect()
    await connection.ask(raw("GET", "/"))
    (served,) = server.uvicorn.server_state.connections
    written: list[bytes] = []
    write = served.transport.write
    monkeypatch.setattr(served.transport, "write", lambda data: (written.append(bytes(data)), write(data)))
    reply = await connection.ask(raw("GET", "/"))
    assert len(written) == 1
    assert written[0].endswith(reply.body)


async def test_the_head_of_a_stream_does_not_wait_for_its_first_event(serve, raw) -> None:
    more = asyncio.Event()

    async def stream(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await more.wait()
        await send({"type": "http.response.body", "body": b"HTTP/1.1 late", "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    connection = await (await serve(Front(stream))).connect()
    await connection.send(raw("GET", "/", "Connection: close"))
    async with asyncio.timeout(10):
        head = await connection.reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    more.set()
    assert await connection.rest() == b"d\r\nHTTP/1.1 late\r\n0\r\n\r\n"


async def test_a_client_that_keeps_sending_still_gets_its_413(serve, raw) -> None:
    """Without a polite end the reset of the connection overtakes the answer."""

    async def too_large(scope: Any, receive: Any, send: Any) -> None:
        await body.read(Request(scope, receive), 1_000, Settings())

    server = await serve(Front(too_large))
    connection = await server.connect()
    await connection.send(raw("POST", "/", length=50_000_000))
    for _ in range(50):
        await connection.send(b"x" * 1_000_000)
    reply = await connection.reply()
    assert (reply.status, reply.code) == (413, "too_large")
    assert await connection.rest() == b""


async def test_a_client_that_never_stops_sending_is_cut_off(serve, raw, monkeypatch) -> None:
    monkeypatch.setattr(limits, "LINGER_S", 0.2)
    server = await serve(Front(echo))

    connection = await server.connect()
    assert (await connection.ask(b"nonsense\r\n\r\n")).status == 400
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        async with asyncio.timeout(10):
            while True:
                await connection.send(b"x" * 100)
                await asyncio.sleep(0)


async def large(scope: Any, receive: Any, send: Any) -> None:
    await Answer(bytes(LARGE_BYTES))(scope, receive, send)


@pytest.mark.parametrize("end", [(), ("Connection: close",)])
async def test_a_client_that_does_not_read_its_answer_is_let_go(serve, raw, monkeypatch, end: tuple[str]) -> None:
    monkeypatch.setattr(limits, "UNREAD_S", 0.1)
    server = await serve(Front(large))
    connection = await server.connect()
    await connection.send(raw("GET", "/", *end) + raw("GET", "/"))
    async with asyncio.timeout(20):
        while not server.uvicorn.server_state.connections:
            await asyncio.sleep(0)
        while server.uvicorn.server_state.connections:
            await asyncio.sleep(0.01)
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await connection.reply()


async def test_a_client_that_reads_its_answer_gets_all_of_it(serve, raw, monkeypatch) -> None:
    monkeypatch.setattr(limits, "UNREAD_S", 1.0)
    server = await serve(Front(large))
    connection = await server.connect()
    for _ in range(3):
        assert len((await connection.ask(raw("GET", "/"))).body) == LARGE_BYTES


async def test_an_idle_connection_is_closed_by_the_end_of_the_server(serve, raw) -> None:
    server = await serve(Front(echo))
    connection = await server.connect()
    await connection.ask(raw("GET", "/"))
    await server.uvicorn.shutdown()
    assert await connection.rest() == b""


async def test_a_thousand_connections_leave_nothing_behind(serve, raw) -> None:
    server = await serve(Front(echo))
    for _ in range(50):
        connections = await asyncio.gather(*(server.connect() for _ in range(20)))
        replies = await asyncio.gather(*(connection.ask(raw("GET", "/")) for connection in connections))
        assert {reply.status for reply in replies} == {200}
        await asyncio.gather(*(connection.close() for connection in connections))
    async with asyncio.timeout(10):
        while server.uvicorn.server_state.connections or server.uvicorn.server_state.tasks:
            await asyncio.sleep(0)
