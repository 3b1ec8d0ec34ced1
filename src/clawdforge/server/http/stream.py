"""Calls that last: server-sent events and long polls, counted, kept alive, and ended when their time has come.

Must not decide whose session it is, nor know what an event means.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

from starlette.types import Receive, Scope, Send

from clawdforge.server.apps.registry import App
from clawdforge.server.events.fanout import Fanout, Follower, Reader
from clawdforge.server.http.limits import ABORT
from clawdforge.server.http.problems import Headers
from clawdforge.server.sessions.asked import Accepted
from clawdforge.server.settings import Settings
from clawdforge.wire import sse
from clawdforge.wire.events import EncodedEvent
from clawdforge.wire.problems import Problem

_RETRY_AFTER_S: Final = 5
_LAST_WORDS_S: Final = 0.5
_HEADERS: Final = [
    (b"content-type", sse.MEDIA_TYPE.encode()),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # else a proxy may keep events for company
]


class Streams:
    """The open calls of one gateway."""

    def __init__(self, fanout: Fanout, settings: Settings) -> None:
        self._fanout = fanout
        self._settings = settings
        self._open: set[Call] = set()
        self._ended = False

    def open(self, app: App) -> Call:
        """One more call that lasts; it counts until it is closed.

        Raises:
            Problem: too many calls last already.
        """
        if len(self._open) >= self._settings.max_streams:
            detail = "as many streams are open as this gateway allows"
            raise Problem("overloaded", detail, retry_after_s=_RETRY_AFTER_S)
        if sum(call.app_id == app.app_id for call in self._open) >= self._settings.max_streams_per_app:
            detail = f"this app has {self._settings.max_streams_per_app} streams open already: close some"
            raise Problem("rate_limited", detail, retry_after_s=_RETRY_AFTER_S)
        call = Call(app.app_id)
        if self._ended:
            call.end()
        self._open.add(call)
        return call

    def close(self, call: Call) -> None:
        """A call has ended."""
        self._open.remove(call)
        call.close()

    def stream(self, app: App, session_id: str, after: int, *, closed: bool) -> EventStream:
        """The events of a session after a `seq`, as an answer that lasts until the session's close.

        Raises:
            Problem: too many calls last already.
        """
        return EventStream(self, self.open(app), session_id, after, closed=closed)

    def turn(self, call: Call, session_id: str, accepted: Accepted, headers: Headers) -> EventStream:
        """The events of one turn, as the answer to an open call; it lasts until the turn's end."""
        return EventStream(
            self, call, session_id, accepted.after_seq, turn_index=accepted.turn_index, headers=headers
        )

    def reader(
        self, follower: Follower, session_id: str, after: int, turn_index: int | None, *, closed: bool
    ) -> Reader:
        """Where a call's client stands in the log."""
        return self._fanout.reader(follower, session_id, after, turn_index, closed=closed)

    async def page(self, session_id: str, after: int, limit: int) -> list[EncodedEvent]:
        """Events that are there, bounded in number and bytes."""
        return await self._fanout.page(session_id, after, limit)

    async def poll(
        self, app: App, receive: Receive, session_id: str, after: int, limit: int, wait_s: float
    ) -> list[EncodedEvent]:
        """Events, once there are some; none when the wait is over, the caller gone or the gateway stopping.

        Raises:
            Problem: too many calls last already.
        """
        with self.call(app) as call, self.following(call, session_id) as follower:
            timer = asyncio.get_running_loop().call_later(wait_s, call.end)
            try:
                async with call.until_hung_up(receive):
                    while not (page := await self.page(session_id, after, limit)) and not call.over:
                        await follower.wait()
            finally:
                timer.cancel()
        return page

    @contextmanager
    def call(self, app: App, abort: Callable[[], None] | None = None) -> Iterator[Call]:
        """A call that lasts as long as the context does. `abort` ends its connection.

        Raises:
            Problem: too many calls last already.
        """
        call = self.open(app)
        call.abort = abort
        try:
            yield call
        finally:
            self.close(call)

    @contextmanager
    def following(self, call: Call, session_id: str) -> Iterator[Follower]:
        """What is kept of a session's events for a call; its end rings."""
        with self._fanout.follow(session_id) as follower:
            call.bell = follower.ring
            yield follower

    def end_of(self, app: App) -> None:
        """Ends the calls of an app whose token is no longer good."""
        for call in [each for each in self._open if each.app_id == app.app_id]:
            call.cut()

    def end(self) -> None:
        """Ends all calls, and every later one at once: the gateway stops."""
        self._ended = True
        for call in [*self._open]:
            call.cut()

    @property
    def heartbeat_s(self) -> float:
        """So long a stream is quiet at most."""
        return self._settings.heartbeat_secs


class Call:
    """One call that lasts.

    Attributes:
        over: it ends as soon as it can.
        bell: tells whatever it waits for that it is over.
        abort: ends its connection.
    """

    def __init__(self, app_id: str) -> None:
        self.app_id = app_id
        self.over: bool = False
        self.bell: Callable[[], None] | None = None
        self.abort: Callable[[], None] | None = None
        self._cut: asyncio.TimerHandle | None = None

    def end(self) -> None:
        """Has it end after what it is at."""
        self.over = True
        if self.bell is not None:
            self.bell()

    def cut(self) -> None:
        """Has it end now: with a last word where its client reads, else without."""
        self.end()
        if self.abort is not None and self._cut is None:
            self._cut = asyncio.get_running_loop().call_later(_LAST_WORDS_S, self.abort)

    def close(self) -> None:
        """It has ended."""
        if self._cut is not None:
            self._cut.cancel()

    @asynccontextmanager
    async def until_hung_up(self, receive: Receive) -> AsyncIterator[None]:
        """Ends it when its client goes."""
        listening = asyncio.create_task(self._hears(receive))
        try:
            yield
        finally:
            listening.cancel()
            await asyncio.wait({listening})

    async def _hears(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.end()


class EventStream:
    """The answer to a reader: an ASGI application for one request."""

    def __init__(
        self,
        streams: Streams,
        call: Call,
        session_id: str,
        after: int,
        *,
        turn_index: int | None = None,
        closed: bool = False,
        headers: Headers = (),
    ) -> None:
        self._streams = streams
        self._call = call
        self._session_id = session_id
        self._after = after
        self._turn_index = turn_index
        self._closed = closed
        self._headers = [*_HEADERS, *headers]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._call.abort = scope[ABORT]
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self._headers})
            if scope["method"] != "HEAD":
                with self._streams.following(self._call, self._session_id) as follower:
                    async with self._call.until_hung_up(receive):
                        await self._pump(follower, send)
            await send({"type": "http.response.body", "body": b""})
        finally:
            self._streams.close(self._call)

    async def _pump(self, follower: Follower, send: Send) -> None:
        reader = self._streams.reader(
            follower, self._session_id, self._after, self._turn_index, closed=self._closed
        )
        pulse = _Pulse(follower, self._streams.heartbeat_s)
        try:
            while not (self._call.over or reader.ended):
                if piece := await reader.next() or pulse.due():
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                    pulse.sent()
        finally:
            pulse.stop()


class _Pulse:
    """Tells when a stream was quiet for so long that it must show that it lives. One timer, not one a frame."""

    def __init__(self, follower: Follower, every_s: float) -> None:
        self._follower = follower
        self._every_s = every_s
        self._quiet = True
        self._due = False
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(every_s, self._beat)

    def due(self) -> bytes:
        """A comment where one is due."""
        return sse.HEARTBEAT if self._due else b""

    def sent(self) -> None:
        """Something was sent: nothing is due for a while."""
        self._quiet = self._due = False

    def stop(self) -> None:
        """Ends the timer."""
        self._timer.cancel()

    def _beat(self) -> None:
        if self._quiet:
            self._due = True
            self._follower.ring()
        self._quiet = True
        self._timer = self._loop.call_later(self._every_s, self._beat)
