"""Readers: each reads every session of a slot from its first event to its last, however often it is cut off."""

from __future__ import annotations

import json
from typing import Final

from chaos import wires
from chaos.history import Reading, Way
from chaos.wires import Broken, Exchange
from chaos.world import Actor, Slot, World
from clawdforge.wire.sse import MEDIA_TYPE

COME_BACK: Final = (429, 503)
WAYS: Final[tuple[Way, ...]] = ("sse", "poll", "page")
WEIGHTS: Final = (8, 2, 1)


class Reader(Actor):
    """Reads by streams, polls and pages as it likes; stops reading for a while now and then, and comes back."""

    def __init__(self, world: World, slot: Slot, name: str) -> None:
        super().__init__(world, name)
        self._slot = slot

    def run(self) -> None:
        """Until the slot has no more sessions, and the last event of each was seen."""
        for session_id in self._slot.all():
            self.read(session_id)

    def replay(self, session_id: str) -> None:
        """The same once more, in one piece."""
        reading = Reading(self.name, session_id, "replay", 0)
        self.world.history.readings.append(reading)
        with self.open("GET", f"/sessions/{session_id}/events", headers={"Accept": MEDIA_TYPE}) as exchange:
            assert not _is_refused(exchange)
            self.take(exchange, reading)

    def read(self, session_id: str) -> None:
        """One session, to its close."""
        after, closed = 0, False
        while not closed:
            reading = Reading(self.name, session_id, self.rng.choices(WAYS, WEIGHTS)[0], after)
            self.world.history.readings.append(reading)
            try:
                after, closed = self._stream(reading) if reading.way == "sse" else self._page(reading)
            except Broken:
                after = self._stands(reading)
                closed = after > reading.after and _is_close(reading.texts[-1])
            assert not self.world.gone.is_set(), f"{self.name} is at {after} of {session_id}"
            if not closed:
                self.pause(0.2)

    def _stream(self, reading: Reading) -> tuple[int, bool]:
        path, headers = f"/sessions/{reading.session_id}/events", {"Accept": MEDIA_TYPE}
        if self.rng.random() < 0.5:
            headers["Last-Event-ID"] = str(reading.after)
        else:
            path += f"?after={reading.after}"
        cut = wires.draw(self.rng, often=0.5)
        rests_after = self.rng.randint(1, 200) if self.rng.random() < 0.2 else None
        narrow = rests_after is not None
        with self.open("GET", path, headers=headers, cut=cut, narrow=narrow) as exchange:
            if _is_refused(exchange):
                return reading.after, False
            self.take(exchange, reading, rests_after)
        closed = bool(reading.texts) and _is_close(reading.texts[-1])
        return self._stands(reading), closed

    def _page(self, reading: Reading) -> tuple[int, bool]:
        path = f"/sessions/{reading.session_id}/events?after={reading.after}"
        path += f"&limit={self.rng.choice((1, 7, 50, 200))}"
        if reading.way == "poll":
            path += f"&wait={self.rng.randint(1, 2)}"
        with self.open("GET", path, cut=wires.draw(self.rng, often=0.2)) as exchange:
            if _is_refused(exchange):
                return reading.after, False
            body = exchange.answer().body
        for event in body["events"]:
            reading.texts.append(self.world.history.same(json.dumps(event, ensure_ascii=False)))
        stands = self._stands(reading)
        assert body["next_after"] == stands, f"next_after {body['next_after']} of a page that ends with {stands}"
        return stands, bool(reading.texts) and _is_close(reading.texts[-1])

    @staticmethod
    def _stands(reading: Reading) -> int:
        return int(json.loads(reading.texts[-1])["seq"]) if reading.texts else reading.after


def _is_refused(exchange: Exchange) -> bool:
    """Whether it shall come back later; anything else than that and a stream is a fault."""
    if exchange.status in COME_BACK:
        return True
    assert exchange.status == 200, exchange.answer().body
    return False


def _is_close(text: str) -> bool:
    return bool(json.loads(text)["type"] == "session_closed")
