"""What all actors of a storm share: the gateway as it comes and goes, the sessions, the record.

An actor is a thread with a generator of its own, made from the seed and its name: what it wants to do next does
not hang on what others do, nor on when.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from chaos.history import Ask, Attempt, History, now_ms
from chaos.wires import WHOLE, Answer, Broken, Cut, Exchange
from harness.gateway import Gateway

UP_WITHIN_S: Final = 60.0
INSIST_S: Final = 90.0


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
        """Does nothing for a while, or until the storm is over."""
        self.world.over.wait(self.rng.uniform(0, at_most_s))

    def open(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: dict[str, str] | None = None,
        cut: Cut = WHOLE,
    ) -> Exchange:
        """A request; what it is answered is still to be read."""
        world = self.world
        return Exchange(world.url(), world.token, method, path, body=body, headers=headers, cut=cut)

    def attempt(
        self,
        ask: Ask,
        method: str,
        path: str,
        body: object = None,
        headers: dict[str, str] | None = None,
        cut: Cut = WHOLE,
    ) -> Attempt:
        """One request of an ask, and its whole answer or none; recorded."""
        began_ms = now_ms()
        keyed = {} if ask.key is None else {"Idempotency-Key": ask.key}
        answer: Answer | None = None
        try:
            with self.open(method, path, body, {**keyed, **(headers or {})}, cut) as exchange:
                answer = exchange.answer()
        except Broken:
            answer = None
        return self.record(ask, began_ms, answer)

    def record(self, ask: Ask, began_ms: int, answer: Answer | None) -> Attempt:
        """Keeps an attempt."""
        if answer is None:
            made = Attempt(ask, began_ms, now_ms(), None)
        else:
            replayed = answer.headers.get("idempotent-replayed") == "true"
            made = Attempt(ask, began_ms, now_ms(), answer.status, answer.body, replayed)
        self.world.history.attempts.append(made)
        return made
