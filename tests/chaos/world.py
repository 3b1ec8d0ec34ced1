"""What all actors of a storm share: the gateway as it comes and goes, the sessions, the record.

An actor is a thread with a generator of its own, made from the seed and its name: what it wants to do next does
not hang on what others do, nor on when.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from chaos.history import Ask, Attempt, Form, History, Reading, now_ms
from chaos.wires import WHOLE, Broken, Cut, Exchange
from clawdforge.wire.sse import MEDIA_TYPE, Decoder
from harness.gateway import Gateway

UP_WITHIN_S: Final = 60.0
INSIST_S: Final = 90.0
NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})
FORMS: Final[Mapping[Form, Mapping[str, str]]] = MappingProxyType(
    {"blocking": NO_HEADERS, "async": {"Prefer": "respond-async"}, "stream": {"Accept": MEDIA_TYPE}}
)


class Slot:
    """A place for one session after the other."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._changed = threading.Condition()
        self._sessions: list[str] = []
        self._over = False

    def add(self, session_id: str) -> None:
        """The next session."""
        with self._changed:
            self._sessions.append(session_id)
            self._changed.notify_all()

    def end(self) -> None:
        """There are no more."""
        with self._changed:
            self._over = True
            self._changed.notify_all()

    @property
    def current(self) -> str | None:
        """The session that it has now."""
        with self._changed:
            return self._sessions[-1] if self._sessions else None

    def all(self) -> Iterator[str]:
        """Each of its sessions, the next one as soon as there is one."""
        place = 0
        while True:
            with self._changed:
                self._changed.wait_for(lambda at=place: self._over or len(self._sessions) > at)  # type: ignore[misc]
                if place >= len(self._sessions):
                    return
                session_id = self._sessions[place]
            yield session_id
            place += 1


@dataclass
class World:
    """Where it all takes place.

    Attributes:
        up: the gateway listens, as far as one knows.
        over: nothing new is begun.
        calm: nothing more is struck.
        gone: nobody shall wait for anything any more.
    """

    gateway: Gateway
    token: str
    seed: int
    slots: list[Slot]
    history: History = field(default_factory=History)
    up: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)
    calm: threading.Event = field(default_factory=threading.Event)
    gone: threading.Event = field(default_factory=threading.Event)

    def url(self) -> str:
        """Where the gateway is, once it is up."""
        assert self.up.wait(UP_WITHIN_S), "the gateway is not up again"
        return self.gateway.url


class Actor:
    """Somebody with a will of its own."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.rng = random.Random(f"{world.seed}/{name}")
        self._asks = 0

    def run(self) -> None:
        """Does what it is there for, to its end."""

    def new_mark(self) -> str:
        """The mark of its next ask."""
        self._asks += 1
        return f"{self.name}.{self._asks}"

    def pause(self, at_most_s: float) -> None:
        """Does nothing for a while."""
        time.sleep(self.rng.uniform(0, at_most_s))

    def open(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] = NO_HEADERS,
        cut: Cut = WHOLE,
        *,
        narrow: bool = False,
    ) -> Exchange:
        """A request; what it is answered is still to be read."""
        url, token = self.world.url(), self.world.token
        return Exchange(url, token, method, path, body=body, headers=headers, cut=cut, narrow=narrow)

    def attempt(
        self,
        ask: Ask,
        method: str,
        path: str,
        body: object = None,
        *,
        form: Form = "blocking",
        cut: Cut = WHOLE,
    ) -> Attempt:
        """One request of an ask, and its whole answer or none; recorded."""
        began_ms = now_ms()
        headers = dict(FORMS[form])
        if ask.key is not None:
            headers["Idempotency-Key"] = ask.key
        status, told, replayed = None, None, False
        try:
            with self.open(method, path, body, headers, cut) as exchange:
                replayed = exchange.headers.get("idempotent-replayed") == "true"
                streamed = exchange.headers["content-type"] == MEDIA_TYPE
                told = self._end_of(exchange, ask) if streamed else exchange.answer().body
                status = None if told is None else exchange.status
        except Broken:
            pass  # which is an attempt without an answer
        made = Attempt(ask, began_ms, now_ms(), status, told, replayed and status is not None, form)
        self.world.history.attempts.append(made)
        return made

    def _end_of(self, exchange: Exchange, ask: Ask) -> Any:
        """What a turn's stream tells, to its end; None where it ends before the turn does: the gateway stops."""
        assert ask.session_id is not None
        reading = Reading(f"{self.name} {ask.mark}", ask.session_id, "turn", 0)
        self.world.history.readings.append(reading)
        self.take(exchange, reading)
        last = json.loads(reading.texts[-1]) if reading.texts else {}
        return {"session_id": ask.session_id, **last} if last.get("type") == "turn_end" else None

    def take(self, exchange: Exchange, reading: Reading, rests_after: int | None = None) -> None:
        """Takes what a stream tells; rests for a while after so many events."""
        decoder = Decoder()
        while data := exchange.more():
            for frame in decoder.feed(data):
                reading.texts.append(self.world.history.same(frame.data))
            if rests_after is not None and len(reading.texts) >= rests_after:
                self.pause(2)  # it does not read meanwhile: that is what it does
                rests_after = None
