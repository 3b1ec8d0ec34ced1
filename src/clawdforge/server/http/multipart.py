"""The door for uploads: a multipart form whose file goes to a sink as it arrives, and never into memory.

Beside the `file` part a form may have a few short text fields. This module must not know where the bytes go, or
what the fields mean.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote_to_bytes

from python_multipart.exceptions import FormParserError, MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from clawdforge.server.http.body import Inflow, check_encoding, header, is_bodiless
from clawdforge.server.settings import Settings
from clawdforge.wire.problems import Problem, invalid

Sink = Callable[[bytes], Awaitable[None] | None]

FILE_PART: Final = "file"
MAX_FIELD_BYTES: Final = 1024
FORM_BYTES: Final = 64 * 1024
"""What a form may be larger than the file in it: boundaries, part headers, fields."""

_EXTENDED_FILENAME: Final = re.compile(rb"""filename\*\s*=\s*([\w-]+)'[\w-]*'([^\s;"]+)""", re.IGNORECASE)
_IDENTITY_ENCODINGS: Final = (b"7bit", b"8bit", b"binary")


@dataclass(frozen=True, slots=True)
class Upload:
    """A form that was read to its end. `filename` is as the client wrote it: anything, but no NUL."""

    filename: str | None
    size: int
    fields: dict[str, str]


async def read_upload(request: Request, settings: Settings, sink: Sink, fields: Collection[str]) -> Upload:
    """Reads a multipart form with one part `file`, whose bytes go to `sink`, and some of `fields`, each once.

    `sink` is called with one piece after the other, and awaited where it returns something to wait for. When this
    raises, what the sink has got is not a whole file.

    Raises:
        Problem: 400 `bad_request`, 408, 413, 415 or 422 `invalid`.
        ClientDisconnect: the client went away before the form was whole.
    """
    form = _Form(_boundary(request), fields, settings.max_upload_bytes)
    inflow = Inflow(request, settings.max_upload_bytes + FORM_BYTES, settings)
    while chunk := await inflow.next():
        for piece in form.feed(chunk, inflow.counted_bytes - len(chunk)):
            waiting = sink(piece)
            if waiting is not None:
                await waiting
    return form.upload()


def _boundary(request: Request) -> bytes:
    if is_bodiless(request):
        raise Problem("bad_request", "a multipart form is expected as the body; there is none")
    check_encoding(request)
    media, options = parse_options_header(header(request, b"content-type"))
    if media != b"multipart/form-data":
        raise Problem("unsupported_media_type", "the body must be of Content-Type multipart/form-data")
    boundary = options.get(b"boundary", b"")
    if not 0 < len(boundary) <= 70:  # RFC 2046, 5.1.1
        raise Problem("bad_request", "the Content-Type must name the form's boundary, of 1 to 70 characters")
    return boundary


@dataclass(slots=True)
class _Part:
    """The part that is being read. Its name is known from when its headers have ended."""

    headers: dict[bytes, bytes] = field(default_factory=dict)
    name: str = ""
    text: bytearray = field(default_factory=bytearray)


class _Form:
    """What the parser's callbacks make of a form."""

    def __init__(self, boundary: bytes, fields: Collection[str], max_file_bytes: int) -> None:
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._part_begins,
                "on_header_field": self._header_name_goes_on,
                "on_header_value": self._header_value_goes_on,
                "on_header_end": self._header_ends,
                "on_headers_finished": self._headers_end,
                "on_part_data": self._part_goes_on,
                "on_part_end": self._part_ends,
                "on_end": self._form_ends,
            },
        )
        self._allowed = fields
        self._max_file_bytes = max_file_bytes
        self._part = _Part()
        self._header_name = bytearray()
        self._header_value = bytearray()
        self._pieces: list[bytes] = []
        self._seen: set[str] = set()
        self._fields: dict[str, str] = {}
        self._filename: str | None = None
        self._size = 0
        self._ended = False

    def feed(self, chunk: bytes, at_byte: int) -> list[bytes]:
        """Takes the next piece of the body, which stands at `at_byte` in it; returns what it has of the file."""
        self._pieces = []
        try:
            self._parser.write(chunk)
        except MultipartParseError as error:
            raise Problem(
                "bad_request", f"the body is no multipart form, at byte {at_byte + error.offset}"
            ) from None
        except FormParserError:
            raise Problem("bad_request", "the body is no multipart form") from None
        return self._pieces

    def upload(self) -> Upload:
        """The form, once all of the body was fed.

        Raises:
            Problem: it has not come to its end, or has no file.
        """
        if not self._ended:
            raise Problem("bad_request", "the body ends before the form does")
        if FILE_PART not in self._seen:
            raise invalid("the form has no part named file", FILE_PART)
        return Upload(self._filename, self._size, self._fields)

    def _part_begins(self) -> None:
        self._part = _Part()

    def _header_name_goes_on(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _header_value_goes_on(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _header_ends(self) -> None:
        self._part.headers[bytes(self._header_name).lower()] = bytes(self._header_value)
        self._header_name.clear()
        self._header_value.clear()

    def _headers_end(self) -> None:
        part = self._part
        encoding = part.headers.get(b"content-transfer-encoding", b"binary").strip().lower()
        if encoding not in _IDENTITY_ENCODINGS:
            raise Problem("unsupported_media_type", "a part of the form must come as it is, not encoded")
        disposition, options = parse_options_header(part.headers.get(b"content-disposition"))
        if disposition != b"form-data" or b"name" not in options:
            raise Problem("bad_request", "a part of the form has no Content-Disposition with a name")
        part.name = _text(options[b"name"], "the name of a part")
        if part.name in self._seen:
            raise invalid(f"the form has more than one part named {part.name}", part.name)
        if part.name == FILE_PART:
            self._filename = _filename(part.headers[b"content-disposition"], options)
        elif part.name not in self._allowed:
            raise invalid("unknown field", part.name[:60])
        self._seen.add(part.name)

    def _part_goes_on(self, data: bytes, start: int, end: int) -> None:
        if self._part.name == FILE_PART:
            self._size += end - start
            if self._size > self._max_file_bytes:
                limit_bytes = self._max_file_bytes
                raise Problem("too_large", f"the file is larger than {limit_bytes} bytes", limit_bytes=limit_bytes)
            self._pieces.append(data[start:end])
        else:
            self._part.text += data[start:end]
            if len(self._part.text) > MAX_FIELD_BYTES:
                raise invalid(f"the field is longer than {MAX_FIELD_BYTES} bytes", self._part.name)

    def _part_ends(self) -> None:
        if self._part.name != FILE_PART:
            self._fields[self._part.name] = _text(bytes(self._part.text), f"the field {self._part.name}")

    def _form_ends(self) -> None:
        self._ended = True


def _filename(disposition: bytes, options: dict[bytes, bytes]) -> str | None:
    """The name that the client gave its file; `filename*` (RFC 8187) before `filename`, as it says more."""
    what = "the file's name"
    extended = _EXTENDED_FILENAME.search(disposition)
    if extended is not None:
        if extended[1].lower() != b"utf-8":
            raise Problem("bad_request", f"{what} is not in UTF-8")
        return _text(unquote_to_bytes(extended[2]), what)
    return _text(options[b"filename"], what) if b"filename" in options else None


def _text(raw: bytes, what: str) -> str:
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise Problem("bad_request", f"{what} is not in UTF-8") from None
    if "\0" in text:
        raise Problem("bad_request", f"{what} contains NUL")
    return text
