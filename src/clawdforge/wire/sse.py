"""Server-sent events: an event of a log as a frame, and frames read back from the bytes of a stream. No I/O.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from clawdforge.wire.events import EncodedEvent

MEDIA_TYPE: Final = "text/event-stream"
HEARTBEAT: Final = b":\n\n"
"""A comment: it says that the stream lives, and nothing else."""

_LINE_END: Final = re.compile(r"\r\n|\n|\r")


def frames(events: Iterable[EncodedEvent]) -> bytes:
    """Events as frames, in one piece: `id` is the `seq`, `event` the type, `data` the object of the wire."""
    return "".join(
        [f"id: {event.seq}\nevent: {event.type}\ndata: {event.text()}\n\n" for event in events]
    ).encode()


@dataclass(frozen=True, slots=True)
class Frame:
    """One event of a stream. `id` is the last one that the stream has named, None where there was none."""

    id: str | None
    event: str
    data: str


class Decoder:
    """Reads a stream's frames from its bytes, however these are cut.

    Attributes:
        last_id: the `id` that a reader names when it comes back; of the last whole frame.
    """

    def __init__(self) -> None:
        self.last_id: str | None = None
        self._decode = codecs.getincrementaldecoder("utf-8-sig")("replace").decode
        self._begun: list[str] = []
        self._id: str | None = None
        self._event = ""
        self._data: list[str] = []

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that these bytes complete."""
        self._begun.append(self._decode(data))
        if not _LINE_END.search(self._begun[-1]) and not self._begun[0].endswith("\r"):
            return  # a long line is joined once, at its end
        text = "".join(self._begun)
        # A CR at the end may be half of a line end: it waits for what follows.
        held = len(text) - text.endswith("\r")
        *lines, last = _LINE_END.split(text[:held])
        self._begun = [last + text[held:]]
        for line in lines:
            if line:
                self._take(line)
            elif (frame := self._dispatched()) is not None:
                yield frame

    def _take(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._event = value
        elif name == "id" and "\0" not in value:
            self._id = value

    def _dispatched(self) -> Frame | None:
        event, data = self._event, self._data
        self._event, self._data = "", []
        self.last_id = self._id
        return Frame(self.last_id, event or "message", "\n".join(data)) if data else None
