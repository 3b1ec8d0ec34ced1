"""Bytes from a pipe, cut into lines of a bounded length. No I/O, no decoding."""

from __future__ import annotations

from collections.abc import Callable


class LineTooLong(Exception):
    """A line went over the limit; the stream cannot be read on."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"a line of more than {limit_bytes} bytes")


class LineCutter:
    """Feeds whole lines, without their newline, to a callback; empty ones are left out.

    Args:
        on_line: gets each line.
        limit_bytes: the longest line that is let through.
    """

    def __init__(self, on_line: Callable[[bytes], None], limit_bytes: int) -> None:
        self._on_line = on_line
        self._limit_bytes = limit_bytes
        self._parts: list[bytes] = []
        self._held_bytes = 0

    def feed(self, chunk: bytes) -> None:
        """Takes the next bytes of the stream.

        Raises:
            LineTooLong: the callback got every line before the one that is too long.
        """
        first, *rest = chunk.split(b"\n")
        self._hold(first)
        if not rest:
            return
        self._emit()
        for line in rest[:-1]:
            if len(line) > self._limit_bytes:
                raise LineTooLong(self._limit_bytes)
            if line:
                self._on_line(line)
        self._hold(rest[-1])

    def finish(self) -> None:
        """Takes the end of the stream: a last line without a newline is a line too."""
        self._emit()

    def _hold(self, part: bytes) -> None:
        self._held_bytes += len(part)
        if self._held_bytes > self._limit_bytes:
            self._parts.clear()
            raise LineTooLong(self._limit_bytes)
        if part:
            self._parts.append(part)

    def _emit(self) -> None:
        # Parts are joined once, at the newline: a long line must not be copied with every chunk.
        line = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        self._held_bytes = 0
        if line:
            self._on_line(line)
