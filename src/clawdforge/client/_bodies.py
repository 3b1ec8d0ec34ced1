"""A file as a body, plain or as `multipart/form-data`, that is never whole in memory.

The encoder that comes with requests reads a file whole; this one yields the same bytes in pieces. It reads the
file that it is given, and must not open or close it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from clawdforge.errors import ForgeError

_PIECE_BYTES: Final = 256 * 1024


class Readable(Protocol):
    """What of a binary file is needed here."""

    def read(self, size: int, /) -> bytes: ...

    def seek(self, offset: int, /) -> object: ...


OnProgress = Callable[[int, int | None], object]
"""Told how many bytes are done, and of how many (None: nobody knows)."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file to be sent, from where it stands.

    Attributes:
        start: where that is, None for a file that cannot seek, such as a pipe.
        size: the bytes from there to the end; None where nobody knows.
        on_progress: told of the file's bytes as they are taken.
    """

    file: Readable = field(repr=False)
    start: int | None
    size: int | None
    on_progress: OnProgress | None = field(default=None, repr=False)


class FileBody:
    """A file as a body, between what comes before and after it. To be iterated once, and again after `rewind`.

    Attributes:
        failure: what iterating has raised. Where the body is iterated, it might pass for a fault of the network.
    """

    def __init__(self, source: Source, content_type: str, head: bytes = b"", tail: bytes = b"") -> None:
        self.failure: Exception | None = None
        self._source = source
        self._head = head
        self._tail = tail
        self._begun = False
        self.content_type = content_type

    @property
    def len(self) -> int | None:
        """The body's length in bytes. requests asks by this name, and sends in chunks where it is None."""
        size = self._source.size
        return None if size is None else len(self._head) + size + len(self._tail)

    def rewind(self) -> bool:
        """Goes back to where the file stood. Returns whether the whole body can be sent (again)."""
        if not self._begun:
            return True
        if self._source.start is None:
            return False
        try:
            self._source.file.seek(self._source.start)
        except (OSError, ValueError):
            return False  # it was closed, or is no file any more
        self._begun = False
        return True

    def __iter__(self) -> Iterator[bytes]:
        """Yields the body's bytes.

        Raises:
            ForgeError: the file cannot be read, or has become shorter than it was.
        """
        self._begun = True
        try:
            yield from self._pieces()
        except Exception as error:
            self.failure = error
            raise

    def _pieces(self) -> Iterator[bytes]:
        if self._head:
            yield self._head
        done, size = 0, self._source.size
        left = size
        while left is None or left > 0:
            piece = self._read(_PIECE_BYTES if left is None else min(_PIECE_BYTES, left))
            if piece:
                yield piece
                done += len(piece)
                if self._source.on_progress is not None:
                    self._source.on_progress(done, size)
            elif left is None:
                break
            else:
                raise ForgeError("the file became shorter while it was sent")
            left = None if left is None else left - len(piece)
        if self._tail:
            yield self._tail

    def _read(self, size: int) -> bytes:
        try:
            return self._source.file.read(size)
        except (OSError, ValueError) as error:  # ValueError: it was closed meanwhile
            why = getattr(error, "strerror", None) or error or type(error).__name__
            raise ForgeError(f"the file cannot be read: {why}") from error


def form(source: Source, name: str, fields: Mapping[str, str], boundary: str) -> FileBody:
    """A `multipart/form-data` body of some fields and one file.

    Args:
        source: the file.
        name: its name as the gateway shall see it.
        fields: form fields that go before it.
        boundary: a line that occurs in none of them: 128 random bits, as hexadecimal digits.
    """
    head = b"".join(_field(boundary, *each) for each in fields.items()) + _file_head(boundary, name)
    return FileBody(source, f"multipart/form-data; boundary={boundary}", head, f"\r\n--{boundary}--\r\n".encode())


def _field(boundary: str, name: str, value: str) -> bytes:
    return f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()


def _file_head(boundary: str, name: str) -> bytes:
    disposition = f'Content-Disposition: form-data; name="file"; filename="{_quoted(name)}"'
    return f"--{boundary}\r\n{disposition}\r\n\r\n".encode("utf-8", "replace")


def _quoted(name: str) -> str:
    """A name within quotes: RFC 7578 wants it there as plain UTF-8 and forbids `filename*`.

    Quotes and backslashes get a backslash (RFC 822's quoted-string); control characters are percent-encoded,
    as browsers do with line ends.
    """
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return "".join(char if ord(char) >= 0x20 and ord(char) != 0x7F else f"%{ord(char):02X}" for char in escaped)
