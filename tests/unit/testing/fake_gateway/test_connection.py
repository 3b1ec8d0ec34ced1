"""HTTP/1.1 as clients other than the SDK write it, well and badly."""

from __future__ import annotations

import socket
from contextlib import closing, suppress

import pytest

from clawdforge.testing import FakeGateway


def said(gateway: FakeGateway, *sent: bytes) -> bytes:
    """All that comes back for these bytes, until the gateway hangs up."""
    port = int(gateway.url.rpartition(":")[2])
    with closing(socket.create_connection(("127.0.0.1", port), timeout=10)) as connection:
        answered = b""
        with suppress(OSError):  # of bytes that it did not want to read
            for each in sent:
                connection.sendall(each)
            connection.shutdown(socket.SHUT_WR)
            while data := connection.recv(65536):
                answered += data
        return answered


def request(gateway: FakeGateway, line: str, *headers: str) -> bytes:
    return "\r\n".join([line, f"Authorization: Bearer {gateway.token}", *headers, "", ""]).encode()


def test_a_connection_lasts_for_many_requests(gateway: FakeGateway) -> None:
    get = request(gateway, "GET /agents HTTP/1.1")
    assert said(gateway, get, get, get).count(b"HTTP/1.1 200 OK\r\n") == 3


@pytest.mark.parametrize(
    ("line", "header"), [("GET /agents HTTP/1.0", ""), ("GET /agents HTTP/1.1", "Connection: close")]
)
def test_a_connection_ends_where_its_client_wants_that(gateway: FakeGateway, line: str, header: str) -> None:
    get = request(gateway, line, *([header] if header else []))
    port = int(gateway.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(get)
        answers = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answers.count(b"HTTP/1.1 ") == 1 and b"\r\nConnection: close\r\n" in answers


def test_a_head_has_no_body(gateway: FakeGateway) -> None:
    assert said(gateway, request(gateway, "HEAD /healthz HTTP/1.1")).endswith(b"\r\n\r\n")


def test_a_client_may_ask_before_it_sends(gateway: FakeGateway) -> None:
    body = b'{"prompt": "x"}'
    kind = ("Content-Type: application/json", "Expect: 100-continue", f"Content-Length: {len(body)}")
    answers = said(gateway, request(gateway, "POST /run HTTP/1.1", *kind), body)
    assert answers.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")


def test_chunks_may_have_extensions_and_trailers(gateway: FakeGateway) -> None:
    head = request(gateway, "POST /run HTTP/1.1", "Content-Type: application/json", "Transfer-Encoding: chunked")
    chunks = b'8;a=b\r\n{"prompt\r\n7\r\n": "x"}\r\n0\r\nTrailer: t\r\n\r\n'
    assert b'"result":"turn 1: x"' in said(gateway, head, chunks)


@pytest.mark.parametrize(
    "nonsense",
    [
        b"",
        b"\r\n",
        b"GET\r\n\r\n",
        b"GET /agents HTTP/1.1\r\nA: b",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /agents HTTP/1.1\r\n" + b"A: b\r\n" * 300 + b"\r\n",
        b"POST /run HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"POST /run HTTP/1.1\r\nContent-Length: 9\r\n\r\n{}",
        b"POST /run HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nz\r\n",
    ],
    ids=lambda each: repr(each[:40]),
)
def test_what_is_no_request_is_not_answered(gateway: FakeGateway, nonsense: bytes) -> None:
    assert said(gateway, nonsense) == b""
    assert gateway.requests == []


def test_headers_of_one_name_are_one(gateway: FakeGateway) -> None:
    said(gateway, request(gateway, "GET /agents?a=%C3%A9&b= HTTP/1.1", "X-A: 1", "x-a:2"))
    (seen,) = gateway.requests
    assert seen.headers["x-a"] == "1, 2" and seen.query == {"a": "é", "b": ""}


def test_a_status_of_nobody_can_be_told(gateway: FakeGateway) -> None:
    gateway.replies(299, "x", at="GET /*")
    assert said(gateway, request(gateway, "GET /agents HTTP/1.1")).startswith(b"HTTP/1.1 299 Unknown\r\n")
