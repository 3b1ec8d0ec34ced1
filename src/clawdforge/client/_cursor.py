"""Where a reader of a session's events stands, whatever happens to the connection that it reads from. Pure.

Bytes go in and events come out, each once and in order, however often the stream is begun again.
"""

from __future__ import annotations

import json
from typing import Any, Final

from clawdforge.client import telling
from clawdforge.client.events import Event
from clawdforge.errors import ForgeProtocolError
from clawdforge.wire.events import SESSION_CLOSED, TURN_END
from clawdforge.wire.sse import Decoder, TooLong

_decode: Final = json.JSONDecoder().decode  # json.loads, but for what it does before


class Cursor:
    """The place of a reader, of all events of a session or of one turn's.

    Args:
        after: the `seq` that the reader has already.
        one_turn: whether it reads the events of one turn alone: that of the first event that comes.

    Attributes:
        after: the `seq` of the last event that came out.
        told: the `seq` of the last one that the reader has: it may stop in the midst of what came out together.
        heard_bytes: how much of streams came, signs of life too.
        turn_index: the turn that is read, None where that is not known yet, or where all are read.
        ended: whether no more will come: the turn has ended, or the session is closed.
    """

    def __init__(self, after: int = 0, *, one_turn: bool = False) -> None:
        self.after: int = after
        self.told: int = after
        self.heard_bytes: int = 0
        self._came: list[Event] = []
        self.turn_index: int | None = None
        self.ended: bool = False
        self._one_turn = one_turn
        self._decoder = Decoder()

    def reconnected(self) -> None:
        """What follows is a new stream: half a frame of the old one counts for nothing."""
        self._decoder = Decoder()

    def untold(self) -> list[Event]:
        """What came out, and was not read."""
        return [event for event in self._came if event.seq > self.told]

    def take(self, data: bytes) -> list[Event]:
        """The events that these bytes complete.

        Raises:
            ForgeProtocolError: they are none of the contract's, or an event is too large to be held.
        """
        found = self._came = []
        self.heard_bytes += len(data)
        try:
            frames = self._decoder.feed(data)
        except TooLong as error:
            raise ForgeProtocolError(str(error)) from None
        for frame in frames:
            self._take(parsed(frame.data), found)
            if self.ended:
                break
        return found

    def take_objects(self, objects: list[dict[str, Any]]) -> list[Event]:
        """The same of objects that came as a page."""
        found = self._came = []
        for each in objects:
            self._take(each, found)
        return found

    def _take(self, told: dict[str, Any], found: list[Event]) -> None:
        event = telling.read(told)
        if event.seq <= self.after:
            return  # told again after a new beginning
        self.after = event.seq
        if self._one_turn:
            if self.turn_index is None:
                self.turn_index = event.turn_index
            elif event.turn_index != self.turn_index:
                return
        found.append(event)
        if event.type == (TURN_END if self._one_turn else SESSION_CLOSED):
            self.ended = True


def parsed(text: str) -> dict[str, Any]:
    """The object of a frame.

    Raises:
        ForgeProtocolError: it is none.
    """
    try:
        told = _decode(text)
    except (ValueError, RecursionError) as error:
        # `from None`: a parser's error holds the whole text, and a traceback printer might show it.
        raise ForgeProtocolError(f"an event came that is no JSON ({type(error).__name__})") from None
    if not isinstance(told, dict):
        raise ForgeProtocolError("an event came that is no JSON object")
    return told
