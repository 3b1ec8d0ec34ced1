"""Server-sent events: an event of a log as a frame, and frames read back from the bytes of a stream. No I/O.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from typing import Final, NamedTuple

from clawdforge.wire.events import EncodedEvent

MEDIA_TYPE: Final = "text/event-stream"
HEARTBEAT: Final = b":\n\n"
"""A comment: it says that the stream lives, and nothing else."""

LIMIT_BYTES: Final = 64 * 2**20
"""Twice what an agent may say in one line."""


def frames(events: Iterable[EncodedEvent]) -> bytes:
    """Events as frames, in one piece: `id` is the `seq`, `event` the type, `data` the object of the wire."""
    return "".join(
        [f"id: {event.seq}\nevent: {event.type}\ndata: {event.text()}\n\n" for event in events]
    ).encode()


class Frame(NamedTuple):
    """One event of a stream. `id` is the last one that the stream has named, None where there was none."""

    id: str | None
    event: str
    data: str


class TooLong(ValueError):
    """An event has more bytes than its reader is ready to hold."""


class Decoder:
    """Reads a stream's frames from its bytes, however these are cut, in time linear to them.

    Args:
        limit_bytes: how much of an event is held while it is not whole.
    """

    def __init__(self, limit_bytes: int = LIMIT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._at_start = True
        self._after_cr = False
        self._begun = bytearray()
        self._id: str | None = None
        self._event = ""
        self._data = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that these bytes complete.

        Raises:
            TooLong: an event is larger than `limit_bytes`; the stream cannot be read on.
        """
        frames = []
        *lines, begun = self._split(data)
        for line in lines:
            if line:
                self._take(line)
            elif (frame := self._dispatched()) is not None:
                frames.append(frame)
        self._begun += begun
        if len(self._begun) + len(self._data) > self._limit_bytes:
            raise TooLong(f"an event of the stream has more than {self._limit_bytes} bytes")
        return frames

    def _split(self, data: bytes) -> list[bytes]:
        """The lines that end in these bytes, whole, and the beginning of one that does not."""
        if self._after_cr and data.startswith(b"\n"):
            data, self._after_cr = data[1:], False
        self._after_cr = data.endswith(b"\r") if data else self._after_cr
        # Only of bytes does splitlines know just the line ends of the standard; the dot makes the last line stay.
        lines = (data + b".").splitlines()
        lines[-1] = lines[-1][:-1]
        if len(lines) > 1:
            if self._begun:
                lines[0] = bytes(self._begun + lines[0])
                self._begun.clear()
            if self._at_start:
                lines[0] = lines[0].removeprefix(codecs.BOM_UTF8)
                self._at_start = False
        return lines

    def _take(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data += value
            self._data += b"\n"
        elif name == b"event":
            self._event = value.decode("utf-8", "replace")
        elif name == b"id" and b"\0" not in value:
            self._id = value.decode("utf-8", "replace")

    def _dispatched(self) -> Frame | None:
        event, self._event = self._event or "message", ""
        if not self._data:
            return None
        data = self._data[:-1].decode("utf-8", "replace")
        self._data.clear()
        return Frame(self._id, event, data)
