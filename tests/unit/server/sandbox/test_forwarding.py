"""What an agent's requests become before they reach its model, and which never do."""

from __future__ import annotations

import json

import pytest

from clawdforge.server.sandbox.forwarding import HEAD_LIMIT_BYTES, Forwarding, Refused

HOST = b"model.example:8443"


def forwarded(*pieces: bytes) -> bytes:
    forwarding = Forwarding(HOST.decode())
    return b"".join(forwarding.feed(piece) for piece in pieces)


def cut(whole: bytes, size: int) -> list[bytes]:
    return [whole[at : at + size] for at in range(0, len(whole), size)]


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_a_request_goes_to_the_endpoints_name_whatever_its_pieces(size: int) -> None:
    asked = (
        b"POST /v1/messages?beta=1 HTTP/1.1\r\nhost: 127.0.0.1:4180\r\nX-Key:  k\r\nContent-Length: 5\r\n\r\nhello"
    )
    head = (
        b"POST /v1/messages?beta=1 HTTP/1.1\r\nHost: model.example:8443\r\nX-Key: k\r\nContent-Length: 5\r\n\r\n"
    )
    assert forwarded(*cut(asked, size)) == head + b"hello"


def test_a_body_in_chunks_is_cut_anew() -> None:
    asked = b"POST /v1 HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n1;name=x\r\na\r\n2\r\nbc\r\n0\r\n\r\n"
    head = b"POST /v1 HTTP/1.1\r\nHost: model.example:8443\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert forwarded(asked) == head + b"3\r\nabc\r\n0\r\n\r\n"
    assert forwarded(*cut(asked, 1)) == head + b"1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n"


def test_requests_follow_one_another() -> None:
    first = b"POST /1 HTTP/1.1\r\nContent-Length: 1\r\n\r\na"
    second = b"GET /2 HTTP/1.1\r\nConnection: close\r\nEmpty:\r\n\r\n"
    assert forwarded(first, second) == (
        b"POST /1 HTTP/1.1\r\nHost: model.example:8443\r\nContent-Length: 1\r\n\r\na"
        b"GET /2 HTTP/1.1\r\nHost: model.example:8443\r\nEmpty: \r\nConnection: close\r\n\r\n"
    )


def test_what_belongs_to_one_connection_stays_there() -> None:
    fields = b"Keep-Alive: 5\r\nTE: trailers\r\nTrailer: X\r\nProxy-Connection: keep-alive\r\nUpgrade: h2c\r\n"
    asked = b"GET / HTTP/1.1\r\nConnection: keep-alive\r\n" + fields + b"Accept: x\r\n\r\n"
    assert forwarded(asked) == b"GET / HTTP/1.1\r\nHost: model.example:8443\r\nAccept: x\r\n\r\n"


SMUGGLED = b"GET /admin HTTP/1.1\r\nHost: other.example\r\n\r\n"


@pytest.mark.parametrize(
    "asked",
    [
        # two lengths
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + SMUGGLED,
        b"POST / HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 44\r\n\r\n" + SMUGGLED,
        b"POST / HTTP/1.1\r\nContent-Length: 0, 44\r\n\r\n" + SMUGGLED,
        b"POST / HTTP/1.1\r\nContent-Length: +5\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nContent-Length: 0x5\r\n\r\nhello",
        # codings that others understand otherwise
        b"POST / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
        # lines that others end elsewhere
        b"GET / HTTP/1.1\nHost: x\n\n",
        b"GET / HTTP/1.1\r\nA: b\nC: d\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: b\rC: d\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
        b"GET / HTTP/1.1\r\n A: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: b\x00c\r\n\r\n",
        b"GET / HTTP/1.1\r\nA\xff: b\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\na\n0\n\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\na\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\na",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nHost: other.example\r\n\r\n",
        # other hosts
        b"GET http://other.example/ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET other.example HTTP/1.1\r\n\r\n",
        b"GET /a\xff HTTP/1.1\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\n\r\n",
        # others' protocols
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"hello\r\n\r\n",
        # the next before the answer
        b"GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n",
        b"GET /1 HTTP/1.1\r\nConnection: close\r\n\r\n" + SMUGGLED,
    ],
)
def test_what_can_be_understood_in_two_ways_is_refused(asked: bytes) -> None:
    with pytest.raises(Refused) as caught:
        forwarded(asked)
    assert caught.value.status == 400


@pytest.mark.parametrize("asked", [b"GET / HTTP/1.0\r\n\r\n", b"GET / HTTP/0.9\r\n\r\n"])
def test_other_versions_are_refused(asked: bytes) -> None:
    with pytest.raises(Refused):
        forwarded(asked)


@pytest.mark.parametrize(
    "asked",
    [
        b"GET /v1 HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"GET /v1 HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n",
        b"CONNECT other.example:443 HTTP/1.1\r\nHost: other.example:443\r\n\r\n",
    ],
)
def test_what_would_leave_http_is_told_that_it_cannot(asked: bytes) -> None:
    with pytest.raises(Refused) as caught:
        forwarded(asked)
    assert caught.value.status == 426


@pytest.mark.parametrize(
    "beginning",
    [
        b"GET /",
        b"GET / HTTP/1.1\r\nX: ",
        b"GET / HTTP/1.1\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ",
    ],
)
def test_nothing_but_a_body_can_go_on_for_long(beginning: bytes) -> None:
    endless = b"A: b\r\n" if beginning.endswith(b"HTTP/1.1\r\n") else b"aaaaaa"
    forwarding = Forwarding("model.example")
    forwarding.feed(beginning)
    with pytest.raises(Refused) as caught:
        for _ in range(2 * HEAD_LIMIT_BYTES // 6):
            forwarding.feed(endless)
    assert caught.value.status in {400, 431}


def test_a_body_can_be_of_any_size() -> None:
    forwarding = Forwarding("model.example")
    forwarding.feed(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
    piece = b"4000\r\n" + bytes(0x4000) + b"\r\n"
    assert all(forwarding.feed(piece) == piece for _ in range(100))
    assert forwarding.feed(b"0\r\n\r\n") == b"0\r\n\r\n"


def test_a_refusal_is_an_error_of_a_models_api() -> None:
    head, _, body = Refused(502, 'cannot reach "it"').answer().partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0].startswith(b"HTTP/1.1 502 ")
    assert b"Content-Length: %d" % len(body) in lines
    assert json.loads(body)["error"]["message"] == 'cannot reach "it"'
