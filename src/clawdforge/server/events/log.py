"""One session's log: gives each event its place and its time, and hands it to the store in that order.

Events go to the store in batches, and with whatever is committed after them. Of what an event means it knows one
thing: which texts go on with each other.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from clawdforge.server.events.rounds import Rounds
from clawdforge.server.store.base import Store
from clawdforge.server.store.writes import AddSession, AppendEvents, Change
from clawdforge.wire import events
from clawdforge.wire.events import Draft, Event

_PRESSURE_BYTES: Final = 1024 * 1024
_RELIEF_BYTES: Final = 512 * 1024
"""So much of one session may wait for the disk."""
_AHEAD_BYTES: Final = 192 * 1024
"""So much of it at a time is the store's, less than goes into one commit: what others store waits behind it."""
_EVENT_BYTES: Final = 200
_BATCH_BYTES: Final = 64 * 1024
_LINGER_S: Final = 0.01
"""So long an event that nobody waits for is kept for company: a turn's last ones go with its end."""


def epoch_ms() -> int:
    """The time of an event."""
    return time.time_ns() // 1_000_000


class SessionLog:
    """The writing end of a session's log.

    Attributes:
        failure: the first error by which events were not stored. What followed on them could not be stored
            either, by errors that only follow from it.

    Args:
        store: where events go.
        session_id: whose log it is.
        last_seq: the greatest `seq` that is stored.
        rounds: when events go there that somebody waits for.
        on_placed: told each event, once it has its place.
        on_pressure: told True when so much waits for the disk that the agent should pause, False when it may
            go on.
        on_failure: told once when events could not be stored: this log is of no more use, for its numbers have
            run ahead of what is stored.
        on_settled: told whenever all that was taken is stored, or has failed.
        clock_ms: the time of events.
    """

    def __init__(
        self,
        store: Store,
        session_id: str,
        last_seq: int,
        *,
        rounds: Rounds,
        on_placed: Callable[[Event], None],
        on_pressure: Callable[[bool], None],
        on_failure: Callable[[BaseException], None],
        on_settled: Callable[[], None],
        clock_ms: Callable[[], int] = epoch_ms,
    ) -> None:
        self._store = store
        self._session_id = session_id
        self._seq = last_seq
        self._rounds = rounds
        self._on_placed = on_placed
        self._on_pressure = on_pressure
        self._on_failure = on_failure
        self._on_settled = on_settled
        self._clock_ms = clock_ms
        self._loop = asyncio.get_running_loop()
        self._open: _Open | None = None
        self._batch: list[Event] = []
        self._batch_bytes = 0
        self._full: deque[tuple[list[Event], int]] = deque()  # batches that wait for the store
        self._ahead_bytes = 0
        self._unstored_bytes = 0
        self._writing = 0
        self._appointed = False
        self._lingering: asyncio.TimerHandle | None = None
        self._held = False
        self._pressed = False
        self.failure: BaseException | None = None

    @property
    def settled(self) -> bool:
        """Whether nothing is on its way: only then may another log of the session begin, where the store says."""
        return self._open is None and not self._batch and not self._full and not self._writing

    @property
    def last_seq(self) -> int:
        """The `seq` of the last event that has its place."""
        return self._seq

    def hold(self) -> None:
        """Keeps events back until a `commit` brings the session's own row: they belong below it."""
        self._held = True

    def append(self, draft: Draft, turn_index: int | None) -> None:
        """Takes an event. It is stored soon, and before anything that is committed after it.

        Adjacent text of one message that waits for the store together is one event; one text of megabytes is many.
        """
        if draft.type in events.STREAMED and len(draft.data["content"]) > _BATCH_BYTES:
            for piece in _pieces(draft):
                self._append(piece, turn_index)
        else:
            self._append(draft, turn_index)

    def _append(self, draft: Draft, turn_index: int | None) -> None:
        if self._open is not None and self._open.goes_on(draft, turn_index):
            content = draft.data["content"]
            self._open.pieces.append(content)
            self._open.size += len(content)
            self._open.ts = self._clock_ms()
            self._batch_bytes += len(content)
        else:
            self.place()
            self._batch_bytes += _weight(draft)
            if draft.type in events.STREAMED:
                self._open = _Open(draft, turn_index, self._clock_ms())
            else:
                self._placed(draft, turn_index, self._clock_ms())
        if self._batch_bytes >= _BATCH_BYTES and not self._held:
            self._fill()
        if not self._appointed:
            self._appoint()

    def place(self) -> None:
        """Gives everything that was taken its place: `on_placed` has heard of it then."""
        last, self._open = self._open, None
        if last is not None:
            self._placed(last.whole(), last.turn_index, last.ts)

    def commit(
        self,
        *changes: Change,
        drafts: Sequence[Draft] = (),
        turn_index: int | None = None,
        outside: Sequence[Draft] = (),
    ) -> asyncio.Future[None]:
        """Stores changes and events, with all events before them, as one unit, at once.

        `drafts` are of the turn `turn_index`, `outside` are what comes after it and is of no turn.

        Returns a future that is done when they are durable, and has StorageError where they could not be stored.
        """
        self.place()
        for draft in drafts:  # however large: they must not go ahead of the changes that they belong to
            self._placed(draft, turn_index, self._clock_ms())
        for draft in outside:
            self._placed(draft, None, self._clock_ms())
        self._batch_bytes += sum(map(_weight, (*drafts, *outside)))
        return self._write(changes, flush=True)

    def _placed(self, draft: Draft, turn_index: int | None, ts: int) -> None:
        self._seq += 1
        event = Event(self._seq, draft.type, turn_index, ts, draft.data)
        self._batch.append(event)
        self._on_placed(event)

    def _appoint(self) -> None:
        self._appointed = True
        if self._rounds.followed(self._session_id):
            self._rounds.join(self._hand_over)
        else:
            self._lingering = self._loop.call_later(_LINGER_S, self._hand_over)

    def _hand_over(self, *, flush: bool = False) -> asyncio.Future[None] | None:
        self._lingering = None
        self._appointed = False
        if not self._batch_bytes or self._held:
            return None
        if self._full:
            self._fill()
            return None
        return self._write((), flush=flush)

    def _fill(self) -> None:
        """Has the batch go to the store, as soon as that is done with enough of what went before."""
        self.place()
        self._full.append((self._batch, self._batch_bytes))
        self._unstored_bytes += self._batch_bytes
        self._batch, self._batch_bytes = [], 0
        self._weigh()
        self._pass_on()

    def _pass_on(self) -> None:
        while self._full and self._ahead_bytes < _AHEAD_BYTES:
            self._pass_on_one(flush=len(self._full) > 1)  # what has more behind it needs no company

    def _pass_on_one(self, *, flush: bool) -> None:
        batch, size = self._full.popleft()
        self._on_its_way(self._store.write(AppendEvents(self._session_id, batch), flush=flush), size)

    def _write(self, changes: Sequence[Change], *, flush: bool) -> asyncio.Future[None]:
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
            self._appointed = False
        while self._full:
            self._pass_on_one(flush=False)
        self.place()
        batch, size = self._batch, self._batch_bytes
        self._batch, self._batch_bytes = [], 0
        append = (AppendEvents(self._session_id, batch),) if batch else ()
        if changes and isinstance(changes[0], AddSession):
            # A session's row comes before its events, everything else after them.
            self._held = False
            future = self._store.write(changes[0], *append, *changes[1:], flush=flush)
        else:
            future = self._store.write(*append, *changes, flush=flush)
        self._unstored_bytes += size
        self._on_its_way(future, size)
        self._weigh()
        return future

    def _on_its_way(self, future: asyncio.Future[None], size: int) -> None:
        self._ahead_bytes += size
        self._writing += 1
        future.add_done_callback(lambda done: self._written(done, size))

    def _written(self, future: asyncio.Future[None], size: int) -> None:
        self._unstored_bytes -= size
        self._ahead_bytes -= size
        self._writing -= 1
        self._pass_on()
        self._weigh()
        error = None if future.cancelled() else future.exception()
        if error is not None and self.failure is None:
            self.failure = error
            self._on_failure(error)
        if self.settled:
            self._on_settled()

    def _weigh(self) -> None:
        if not self._pressed and self._unstored_bytes > _PRESSURE_BYTES:
            self._pressed = True
            self._on_pressure(True)
        elif self._pressed and self._unstored_bytes < _RELIEF_BYTES:
            self._pressed = False
            self._on_pressure(False)


class _Open:
    """A text that may go on: it gets its place when something else comes, or when it goes to the store."""

    __slots__ = ("draft", "pieces", "size", "ts", "turn_index")

    def __init__(self, draft: Draft, turn_index: int | None, ts: int) -> None:
        self.draft = draft
        self.turn_index = turn_index
        self.pieces: list[str] = [draft.data["content"]]
        self.size = len(self.pieces[0])
        self.ts = ts

    def goes_on(self, draft: Draft, turn_index: int | None) -> bool:
        """Whether this is more of the same message."""
        return (
            draft.type == self.draft.type
            and turn_index == self.turn_index
            and draft.data.get("message_id") == self.draft.data.get("message_id")
            and self.size < _BATCH_BYTES
        )

    def whole(self) -> Draft:
        """All of it, as if it had been said at once."""
        if len(self.pieces) == 1:
            return self.draft
        return Draft(self.draft.type, {**self.draft.data, "content": "".join(self.pieces)})


def _pieces(draft: Draft) -> Iterator[Draft]:
    """A text in pieces of which a few go into one commit."""
    content: str = draft.data["content"]
    for start in range(0, len(content), _BATCH_BYTES):
        yield Draft(draft.type, {**draft.data, "content": content[start : start + _BATCH_BYTES]})


def _weight(draft: Draft) -> int:
    """About how many bytes an event holds; only what can be large is looked at."""
    return _EVENT_BYTES + sum([len(value) for value in draft.data.values() if isinstance(value, str)])
