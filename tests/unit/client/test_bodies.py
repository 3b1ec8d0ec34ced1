"""The body that we write, read by a strict parser that we did not."""

from __future__ import annotations

import io
from dataclasses import dataclass

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from python_multipart.multipart import MultipartParser, parse_options_header

from clawdforge import ForgeError
from clawdforge.client import _calls
from clawdforge.client._bodies import FileBody, Source, form

BOUNDARY = "0123456789abcdef0123456789abcdef"


@dataclass
class Part:
    headers: dict[str, str]
    data: bytes

    @property
    def options(self) -> dict[bytes, bytes]:
        return parse_options_header(self.headers["content-disposition"])[1]


def parse(raw: bytes) -> list[Part]:
    parts: list[Part] = []
    header: list[bytes] = [b"", b""]
    ended: list[bool] = []

    def header_end() -> None:
        parts[-1].headers[header[0].decode().lower()] = header[1].decode("latin-1")
        header[:] = [b"", b""]

    def grow(index: int, data: bytes, start: int, end: int) -> None:
        header[index] += data[start:end]

    def part_data(data: bytes, start: int, end: int) -> None:
        parts[-1].data += data[start:end]

    parser = MultipartParser(
        BOUNDARY,
        {
            "on_part_begin": lambda: parts.append(Part({}, b"")),
            "on_header_field": lambda data, start, end: grow(0, data, start, end),
            "on_header_value": lambda data, start, end: grow(1, data, start, end),
            "on_header_end": header_end,
            "on_part_data": part_data,
            "on_end": lambda: ended.append(True),
        },
    )
    assert parser.write(raw) == len(raw)
    parser.finalize()
    assert ended == [True]
    return parts


def file_body(content: bytes, name: str = "a.txt", **fields: str) -> FileBody:
    return form(Source(io.BytesIO(content), 0, len(content)), name, fields, BOUNDARY)


@pytest.mark.parametrize("size", [0, 1, 256 * 1024, 256 * 1024 + 1, 3_000_000])
def test_a_file_arrives_whole_and_the_length_is_right(size: int) -> None:
    content = bytes(index % 251 for index in range(1000)) * (size // 1000 + 1)
    body = file_body(content[:size], ttl_secs="60")

    raw = b"".join(body)

    assert len(raw) == body.len
    ttl, file = parse(raw)
    assert (ttl.options[b"name"], ttl.data) == (b"ttl_secs", b"60")
    assert (file.options[b"name"], file.options[b"filename"]) == (b"file", b"a.txt")
    assert file.data == content[:size]


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=60))
@example('"')
@example("\\")
@example('a";x="b')
@example('end\\"')
@example("naïve 🚲.txt")
@example("a; name=other")
def test_any_printable_name_arrives_as_it_was(name: str) -> None:
    (file,) = parse(b"".join(file_body(b"x", name)))

    # The parser takes what looks like a Windows path for its last part.
    looks_like_windows = name[1:3] == ":\\" or name[:2] == "\\\\"
    if not looks_like_windows:
        assert file.options[b"filename"].decode("latin-1").encode("latin-1").decode() == name
    assert file.options[b"name"] == b"file"
    assert file.data == b"x"


def test_line_ends_in_a_name_cannot_add_a_header_or_a_part() -> None:
    name = f'a\r\nX-Evil: 1\r\n\r\n--{BOUNDARY}--\r\n"; name="ttl_secs"\x00\x7f.txt'

    (file,) = parse(b"".join(file_body(b"x", name)))

    assert set(file.headers) == {"content-disposition"}
    assert file.options[b"name"] == b"file"
    assert b"%0D%0AX-Evil: 1" in file.options[b"filename"]
    assert b"%00%7F.txt" in file.options[b"filename"]


def test_half_a_surrogate_in_a_name_becomes_a_question_mark() -> None:
    (file,) = parse(b"".join(file_body(b"x", "broken-\udcff.txt")))

    assert file.options[b"filename"] == b"broken-?.txt"


def test_content_that_looks_like_the_end_of_a_part_is_only_content() -> None:
    content = b"\r\n--" + BOUNDARY[:-1].encode() + b"\r\n--\r\n"

    (file,) = parse(b"".join(file_body(content)))

    assert file.data == content


def test_a_file_is_read_in_pieces() -> None:
    class Counting(io.BytesIO):
        largest = 0

        def read(self, size: int | None = -1, /) -> bytes:
            assert size is not None
            assert size >= 0
            Counting.largest = max(Counting.largest, size)
            return super().read(size)

    pieces = list(form(Source(Counting(bytes(5_000_000)), 0, 5_000_000), "big", {}, BOUNDARY))

    assert Counting.largest == max(map(len, pieces)) == 256 * 1024


def test_a_file_that_shrinks_breaks_the_upload_and_one_that_grows_is_cut() -> None:
    with pytest.raises(ForgeError, match="shorter"):
        b"".join(form(Source(io.BytesIO(b"12345"), 0, 10), "x", {}, BOUNDARY))

    grown = form(Source(io.BytesIO(b"1234567890"), 0, 5), "x", {}, BOUNDARY)
    (file,) = parse(b"".join(grown))
    assert file.data == b"12345"


def test_a_file_that_cannot_be_read_is_no_fault_of_the_network() -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(ForgeError, match="the file cannot be read: Input/output error") as caught:
        b"".join(form(Source(Broken(), 0, 10), "x", {}, BOUNDARY))

    assert not isinstance(caught.value, OSError)


def test_without_a_size_the_file_is_read_to_its_end_and_the_length_is_not_known() -> None:
    body = form(Source(io.BytesIO(b"abc"), 0, None), "x", {}, BOUNDARY)

    assert body.len is None
    (file,) = parse(b"".join(body))
    assert file.data == b"abc"


def test_small_uploads_go_as_bytes_and_large_ones_stay_a_stream() -> None:
    small = _calls.upload(file_body(b"small"))
    large = _calls.upload(file_body(bytes(2_000_000)))

    assert isinstance(small.body, bytes)
    assert isinstance(large.body, FileBody)
    assert small.content_type == f"multipart/form-data; boundary={BOUNDARY}"


def test_a_body_goes_back_to_where_its_file_stood() -> None:
    file = io.BytesIO(b"..hello")
    file.seek(2)
    body = FileBody(Source(file, 2, 5), "x")
    assert body.rewind()
    assert b"".join(body) == b"hello"
    assert body.rewind()
    assert b"".join(body) == b"hello"
    file.close()
    assert not body.rewind()


def test_a_pipe_goes_nowhere_once_it_was_read() -> None:
    body = FileBody(Source(io.BytesIO(b"hello"), None, None), "x")
    assert (body.len, body.rewind(), b"".join(body), body.rewind()) == (None, True, b"hello", False)


def test_what_has_failed_is_kept() -> None:
    def fail(*_: object) -> None:
        raise KeyError("mine")

    body = FileBody(Source(io.BytesIO(b"hello"), 0, 5, fail), "x")
    with pytest.raises(KeyError):
        b"".join(body)
    assert isinstance(body.failure, KeyError)
