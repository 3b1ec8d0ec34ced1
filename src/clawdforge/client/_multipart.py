"""A file as a `multipart/form-data` body that is never whole in memory.

The encoder that comes with requests reads a file whole; this one yields the same bytes in pieces. It reads the
file that it is given, and must not open, close or rewind it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, Protocol

from clawdforge.errors import ForgeError

_PIECE_BYTES: Final = 256 * 1024


class Readable(Protocol):
    """What of a binary file is needed here."""

    def read(self, size: int, /) -> bytes: ...


class FileBody:
    """Some form fields and one file, to be iterated once.

    Args:
        file: read from where it stands.
        name: the file's name as the gateway shall see it.
        size: the bytes from there to the end; None where nobody knows.
        fields: form fields that go before the file.
        boundary: a line that occurs in none of them: 128 random bits, as hexadecimal digits.
    """

    def __init__(
        self, file: Readable, name: str, size: int | None, fields: Mapping[str, str], boundary: str
    ) -> None:
        self._file = file
        self._size = size
        self._head = b"".join(_field(boundary, *each) for each in fields.items()) + _file_head(boundary, name)
        self._tail = f"\r\n--{boundary}--\r\n".encode()
        self.content_type = f"multipart/form-data; boundary={boundary}"

    @property
    def len(self) -> int | None:
        """The body's length in bytes. requests asks by this name, and sends in chunks where it is None."""
        return None if self._size is None else len(self._head) + self._size + len(self._tail)

    def __iter__(self) -> Iterator[bytes]:
        """Yields the body's bytes.

        Raises:
            ForgeError: the file cannot be read, or has become shorter than `size`.
        """
        yield self._head
        left = self._size
        while left is None or left > 0:
            piece = self._read(_PIECE_BYTES if left is None else min(_PIECE_BYTES, left))
            if piece:
                yield piece
            elif left is None:
                break
            else:
                raise ForgeError("the file became shorter while it was sent")
            left = None if left is None else left - len(piece)
        yield self._tail

    def _read(self, size: int) -> bytes:
        try:
            return self._file.read(size)
        except OSError as error:
            # As an OSError it would pass for a fault of the network.
            raise ForgeError(f"the file cannot be read: {error.strerror or type(error).__name__}") from error


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
