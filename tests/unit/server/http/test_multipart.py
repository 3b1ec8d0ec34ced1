"""The door for uploads: forms of every make, whole and broken, in pieces of every size."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from clawdforge.server.http.multipart import MAX_FIELD_BYTES, Upload, read_upload
from clawdforge.server.http.problems import Answer, Front
from clawdforge.server.settings import Settings
from clawdforge.wire import codec
from clawdforge.wire.problems import Problem

TYPE = "Content-Type: multipart/form-data; boundary=line"


def part(content: bytes | str, *lines: str) -> bytes:
    data = content.encode() if isinstance(content, str) else content
    return b"--line\r\n" + "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n" + data + b"\r\n"


def file_part(content: bytes | str = "content", name: str = 'filename="a.txt"') -> bytes:
    return part(content, f'Content-Disposition: form-data; name="file"; {name}', "Content-Type: text/plain")


def field(name: str, value: bytes | str) -> bytes:
    return part(value, f'Content-Disposition: form-data; name="{name}"')


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--line--\r\n"


class Uploads:
    """An application that reads one upload and says what it got."""

    def __init__(self, **settings: Any) -> None:
        self.settings = Settings(**settings)
        self.got = bytearray()

    async def sink(self, piece: bytes) -> None:
        await asyncio.sleep(0)
        self.got += piece

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.got.clear()
        upload = await read_upload(Request(scope, receive), self.settings, self.sink, ("ttl_secs",))
        assert upload.size == len(self.got)
        told = {"filename": upload.filename, "size": upload.size, "fields": upload.fields}
        await Answer(codec.dumps(told))(scope, receive, send)


def read(
    data: bytes, pieces: int = 1, content_type: bytes = TYPE.encode()[14:], **settings: Any
) -> tuple[Upload, bytes]:
    """Reads a form that comes in so many pieces."""
    size = len(data) // pieces + 1
    chunks = [data[start : start + size] for start in range(0, len(data), size)] or [b""]
    messages = [
        {"type": "http.request", "body": chunk, "more_body": number < len(chunks)}
        for number, chunk in enumerate(chunks, start=1)
    ]

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    got = bytearray()
    headers = [(b"content-type", content_type), (b"content-length", str(len(data)).encode())]
    request = Request({"type": "http", "headers": headers}, receive)
    upload = asyncio.run(read_upload(request, Settings(**settings), got.extend, ("ttl_secs", "note")))
    return upload, bytes(got)


def refused(data: bytes, **given: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        read(data, **given)
    return caught.value


async def test_a_file_and_its_fields_come_over_a_socket_in_either_order(serve, raw) -> None:
    uploads = Uploads()
    server = await serve(Front(uploads))
    content = bytes(range(256)) * 4_000 + b"\r\n--lin\r\n--lin"
    connection = await server.connect()
    for parts in ((file_part(content), field("ttl_secs", "60")), (field("ttl_secs", "60"), file_part(content))):
        reply = await connection.ask(raw("POST", "/", TYPE, body=form(*parts)))
        assert reply.json == {"filename": "a.txt", "size": len(content), "fields": {"ttl_secs": "60"}}
        assert uploads.got == content


async def test_an_upload_over_the_limit_is_413_declared_or_counted(serve, raw) -> None:
    uploads = Uploads(max_upload_bytes=10_000)
    server = await serve(Front(uploads))
    assert (await server.ask(raw("POST", "/", TYPE, body=form(file_part(b"x" * 10_000))))).status == 200
    reply = await server.ask(raw("POST", "/", TYPE, body=form(file_part(b"x" * 10_001))))
    assert (reply.status, reply.code) == (413, "too_large")
    reply = await server.ask(raw("POST", "/", TYPE, length=10_000_000_000))
    assert (reply.status, reply.code) == (413, "too_large")
    endless = raw("POST", "/", TYPE, "Transfer-Encoding: chunked") + b"40000\r\n" + b"x" * 0x40000 + b"\r\n"
    assert (await server.ask(endless)).status in (400, 413)
    epilogue = form(file_part()) + b"x" * 200_000
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(epilogue), epilogue)
    reply = await server.ask(raw("POST", "/", TYPE, "Transfer-Encoding: chunked") + chunked)
    assert (reply.status, reply.code) == (413, "too_large")


async def test_a_slow_upload_is_408(serve, raw) -> None:
    server = await serve(Front(Uploads(head_timeout_secs=0.2, min_body_bytes_per_sec=1_000_000)))
    reply = await server.ask(raw("POST", "/", TYPE, length=5_000) + form(file_part())[:50])
    assert (reply.status, reply.code) == (408, "request_timeout")


async def test_a_slow_sink_is_not_the_clients_fault(serve, raw) -> None:
    uploads = Uploads(head_timeout_secs=0.2, min_body_bytes_per_sec=1_000_000_000)
    server = await serve(Front(uploads), head_timeout_secs=0.2)
    closed = []

    async def sink(piece: bytes) -> None:
        if not closed:  # a connection that says nothing is closed when the same patience has run out
            closed.append(await (await server.connect()).rest())
        uploads.got.extend(piece)

    uploads.sink = sink  # type: ignore[method-assign]
    reply = await server.ask(raw("POST", "/", TYPE, body=form(file_part(b"x" * 1_000_000))))
    assert (reply.status, closed) == (200, [b""])


@pytest.mark.parametrize(
    ("name", "filename"),
    [
        ('filename="a.txt"', "a.txt"),
        ("filename=a.txt", "a.txt"),
        ('filename="größe ½.txt"', "größe ½.txt"),
        ("filename*=UTF-8''gr%C3%B6%C3%9Fe.txt", "größe.txt"),
        ("filename=\"x\"; filename*=utf-8'de'%e2%82%ac.txt", "€.txt"),
        ('filename="a\\"b.txt"', 'a"b.txt'),
        ('filename="../../etc/passwd"', "../../etc/passwd"),
        ('filename="a;b=c.txt"', "a;b=c.txt"),
        ('filename=""', ""),
        ("x=y", None),
    ],
)
def test_the_filename_is_what_the_client_wrote(name: str, filename: str | None) -> None:
    assert read(form(file_part(name=name)))[0].filename == filename


@pytest.mark.parametrize(
    ("data", "status", "sentence"),
    [
        (form(field("ttl_secs", "60")), 422, "the form has no part named file"),
        (form(file_part(), file_part()), 422, "the form has more than one part named file"),
        (
            form(field("note", "1"), field("note", "2"), file_part()),
            422,
            "the form has more than one part named note",
        ),
        (form(field("colour", "red"), file_part()), 422, "unknown field"),
        (
            form(field("note", "x" * (MAX_FIELD_BYTES + 1)), file_part()),
            422,
            "the field is longer than 1024 bytes",
        ),
        (form(field("note", b"\xff"), file_part()), 400, "the field note is not in UTF-8"),
        (form(field("note", "a\0b"), file_part()), 400, "the field note contains NUL"),
        (form(file_part(name="filename*=utf-8''a%00b")), 400, "the file's name contains NUL"),
        (form(file_part(name="filename*=utf-8''%ff")), 400, "the file's name is not in UTF-8"),
        (form(file_part(name="filename*=iso-8859-1''%e4")), 400, "the file's name is not in UTF-8"),
        (form(part("x")), 400, "a part of the form has no Content-Disposition with a name"),
        (form(part("x", 'Content-Disposition: attachment; name="file"')), 400, None),
        (form(part("x", "Content-Disposition: form-data")), 400, None),
        (
            form(part("eA==", 'Content-Disposition: form-data; name="file"', "Content-Transfer-Encoding: base64")),
            415,
            "a part of the form must come as it is, not encoded",
        ),
        (form(part("x", *(f"X{n}: y" for n in range(9)))), 400, None),
        (form(part("x", "X: " + "y" * 5_000)), 400, None),
        (form(file_part())[:-4], 400, "the body ends before the form does"),
        (file_part(), 400, "the body ends before the form does"),
        (b"nonsense", 400, "the body is no multipart form, at byte 0"),
        (form(), 422, "the form has no part named file"),
        (form(*(field(f"f{n}", "") for n in range(10_000))), 422, "unknown field"),
    ],
)
@pytest.mark.parametrize("pieces", [1, 7])
def test_a_form_that_is_not_as_it_should_be_is_refused(
    data: bytes, status: int, sentence: str | None, pieces: int
) -> None:
    problem = refused(data, pieces=pieces)
    assert problem.status == status
    assert sentence is None or problem.detail == sentence
    assert (problem.code == "invalid") == ("errors" in problem.extra)


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        (b"", 415),
        (b"application/json", 415),
        (b"multipart/mixed; boundary=line", 415),
        (b"multipart/form-data", 400),
        (b"multipart/form-data; boundary=", 400),
        (b"multipart/form-data; boundary=" + b"x" * 71, 400),
        (b"multipart/form-data; boundary=another", 400),
    ],
)
def test_the_content_type_must_be_a_form_and_name_its_boundary(content_type: bytes, status: int) -> None:
    assert refused(form(file_part()), content_type=content_type).status == status


async def test_no_body_is_400_and_a_compressed_one_415(serve, raw) -> None:
    server = await serve(Front(Uploads()))
    assert (await server.ask(raw("POST", "/", TYPE))).code == "bad_request"
    reply = await server.ask(raw("POST", "/", TYPE, "Content-Encoding: gzip", body=form(file_part())))
    assert (reply.status, reply.code) == (415, "unsupported_media_type")


@given(st.binary(max_size=300), st.integers(1, 50))
def test_any_content_comes_through_in_any_pieces(content: bytes, pieces: int) -> None:
    if b"\r\n--line" in b"\r\n" + content:
        return
    upload, got = read(form(field("note", "1"), file_part(content)), pieces)
    assert (got, upload.size, upload.fields) == (content, len(content), {"note": "1"})


@given(
    st.lists(
        st.sampled_from(
            [b"--line", b"--line--", b"\r\n", b"\r", b"\n", b"-", file_part(), field("note", "x"), b"X: y"]
        )
        | st.binary(max_size=8),
        max_size=12,
    ).map(b"".join),
    st.integers(1, 10),
)
def test_any_bytes_are_an_upload_or_a_problem(data: bytes, pieces: int) -> None:
    try:
        upload, got = read(data, pieces)
    except Problem as problem:
        assert problem.status in (400, 413, 415, 422)
    else:
        assert upload.size == len(got)
