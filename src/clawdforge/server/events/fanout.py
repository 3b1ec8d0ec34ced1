"""Who reads a session's log as it grows: what was stored is handed to each reader, once, in order.

What nobody reads costs nothing, and a reader that does not keep up costs the others nothing: so much is kept for
it and no more, then it reads on from the store. Must not know who the readers are, nor what an event means.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

from clawdforge.server.store.base import Store
from clawdforge.server.store.writes import AppendEvents
from clawdforge.wire import events, sse
from clawdforge.wire.events import EncodedEvent, Event

KEPT_BYTES: Final = 256 * 1024
"""So much is kept for a reader that does not keep up."""

PAGE_BYTES: Final = 128 * 1024
PAGE_EVENTS: Final = 1000
"""Bounds of what is replayed at a time. One event may be larger."""


class Batch:
    """Events of one session that were stored by one commit. Frames are made once, for all readers.

    `closes` tells whether the session's close is among them.
    """

    __slots__ = ("_events", "_frames", "closes", "first_seq", "last_seq")

    def __init__(self, stored: Sequence[Event]) -> None:
        self._events = stored
        self._frames: bytes | None = None
        self.first_seq: int = stored[0].seq
        self.last_seq: int = stored[-1].seq
        self.closes: bool = any(event.type == events.SESSION_CLOSED for event in stored)

    def ends(self, turn_index: int | None) -> bool:
        """Whether nothing follows for who reads one turn, or all."""
        if turn_index is None:
            return self.closes
        return any(_ends_turn(event, turn_index) for event in self._events)

    def frames_of(self, turn_index: int, after: int) -> bytes:
        """The frames of one turn's events with `seq` greater than `after`."""
        of_turn = (event for event in self._events if event.turn_index == turn_index and event.seq > after)
        return sse.frames(event.encoded() for event in of_turn)

    def frames(self, after: int = 0) -> bytes:
        """The frames of the events with `seq` greater than `after`."""
        if after >= self.first_seq:
            return sse.frames(event.encoded() for event in self._events if event.seq > after)
        if self._frames is None:
            self._frames = sse.frames(event.encoded() for event in self._events)
        return self._frames


def _ends_turn(event: Event | EncodedEvent, turn_index: int) -> bool:
    return event.type == events.TURN_END and event.turn_index == turn_index


class Fanout:
    """All readers of one gateway, by session. Made on the gateway's loop, belongs to it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._followers: dict[str, set[Follower]] = {}
        store.watch(self._stored)

    def follow(self, session_id: str) -> Follower:
        """A reader's place; it must be used as a context manager, and hears within it."""
        return Follower(self._followers, session_id)

    def reader(
        self, follower: Follower, session_id: str, after: int, turn_index: int | None = None, *, closed: bool
    ) -> Reader:
        """A way through the log for who follows it (see `Reader`)."""
        return Reader(self._store, follower, session_id, after, turn_index, closed=closed)

    async def page(self, session_id: str, after: int, limit: int) -> list[EncodedEvent]:
        """What is stored after a `seq`, bounded in number and in bytes."""
        return await self._store.encoded_events(session_id, after=after, limit=limit, limit_bytes=PAGE_BYTES)

    def followed(self, session_id: str) -> bool:
        """Whether anybody waits for this session's events."""
        return session_id in self._followers

    def _stored(self, appended: Sequence[AppendEvents]) -> None:
        for each in appended:
            followers = self._followers.get(each.session_id)
            if followers and each.events:
                batch = Batch(each.events)
                for follower in followers:
                    follower._offer(batch)


class Follower:
    """What is kept for one reader, and its bell.

    Attributes:
        lost: something was not kept, because too much waited: the reader has to look into the store.
    """

    def __init__(self, followers: dict[str, set[Follower]], session_id: str) -> None:
        self.lost: bool = False
        self._followers = followers
        self._session_id = session_id
        self._batches: deque[Batch] = deque()
        self._kept_bytes = 0
        self._rung = False
        self._bell: asyncio.Future[None] | None = None

    def __enter__(self) -> Self:
        self._followers.setdefault(self._session_id, set()).add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        followers = self._followers[self._session_id]
        followers.remove(self)
        if not followers:
            del self._followers[self._session_id]

    def forget(self) -> None:
        """Lets go of what is kept; what is stored from now on is kept again."""
        self._batches.clear()
        self._kept_bytes = 0
        self.lost = False

    def take(self) -> list[Batch]:
        """What was kept, oldest first; it is kept no more."""
        taken = [*self._batches]
        self._batches.clear()
        self._kept_bytes = 0
        return taken

    def ring(self) -> None:
        """Has `wait` return, though nothing may have come."""
        self._rung = True
        if self._bell is not None and not self._bell.done():
            self._bell.set_result(None)

    async def wait(self) -> None:
        """Returns once something is there to take, something was lost, or somebody rang."""
        if not (self._rung or self._batches or self.lost):
            self._bell = asyncio.get_running_loop().create_future()
            try:
                await self._bell
            finally:
                self._bell = None
        self._rung = False

    def _offer(self, batch: Batch) -> None:
        if self.lost:
            return
        self._batches.append(batch)
        self._kept_bytes += len(batch.frames())
        if self._kept_bytes > KEPT_BYTES:
            self._batches.clear()
            self._kept_bytes = 0
            self.lost = True
        self.ring()


class Reader:
    """One reader's way through a session's log: first what is stored, then what comes, without gap or double.

    Args:
        store: where the log lies.
        follower: this reader's own, within its context.
        session_id: whose log it is.
        after: the `seq` that the reader has already; it may be greater than any that there is yet.
        turn_index: the turn whose events alone are wanted, until its end; None for all, until the session's.
        closed: whether the session was closed when the reader came.
    """

    def __init__(
        self,
        store: Store,
        follower: Follower,
        session_id: str,
        after: int,
        turn_index: int | None = None,
        *,
        closed: bool,
    ) -> None:
        self.ended: bool = False
        self._store = store
        self._follower = follower
        self._session_id = session_id
        self._position = after
        self._turn_index = turn_index
        self._closed = closed
        self._replaying = True

    async def next(self) -> bytes:
        """The next frames, in one piece; nothing where there is none yet, which is known after a while or a ring.

        `ended` is true once the close of the session, or the end of the turn, is among them.
        """
        if not self._replaying:
            await self._follower.wait()
        elif page := await self._page():
            return page
        else:  # what was stored since then is with the follower
            self._replaying = False
            self.ended = self._closed
        if self._follower.lost:
            self._follower.forget()
            self._replaying = True
        return self._kept()

    async def _page(self) -> bytes:
        page = await self._store.encoded_events(
            self._session_id,
            after=self._position,
            turn_index=self._turn_index,
            limit=PAGE_EVENTS,
            limit_bytes=PAGE_BYTES,
        )
        if page:
            self._position = page[-1].seq
            self.ended = any(self._is_last(event) for event in page)
        return sse.frames(page)

    def _is_last(self, event: EncodedEvent) -> bool:
        if self._turn_index is None:
            return event.type == events.SESSION_CLOSED
        return _ends_turn(event, self._turn_index)

    def _kept(self) -> bytes:
        pieces = []
        turn = self._turn_index
        for batch in self._follower.take():
            self.ended = self.ended or batch.ends(turn)
            if batch.last_seq > self._position:  # else the store was faster, or the reader waits for a later one
                after = self._position
                pieces.append(batch.frames(after) if turn is None else batch.frames_of(turn, after))
                self._position = batch.last_seq
        return b"".join(pieces)
