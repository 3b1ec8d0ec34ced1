"""Streams as an asynchronous app reads them: the twin of `stream`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Self, TypeVar

from clawdforge.client import _streams
from clawdforge.client._core import Core
from clawdforge.client._sources import PromptEvents, SessionEvents
from clawdforge.client.events import Event, PermissionRequestEvent, TextEvent
from clawdforge.wire.permissions import Decision, PermissionAnswered

if TYPE_CHECKING:
    from clawdforge.client._httpx import AsyncWire

R = TypeVar("R")
OnPermission = Callable[[PermissionRequestEvent], Decision | Awaitable[Decision | None] | None]


class AsyncEventStream(AsyncIterator[Event]):
    """As `EventStream`, for `async for` and `async with`. To be read by one task at a time."""

    def __init__(
        self,
        wire: AsyncWire,
        core: Core,
        source: SessionEvents | PromptEvents,
        on_permission: OnPermission | None = None,
    ) -> None:
        self._wire = wire
        self._core = core
        self._source = source
        self._on_permission = on_permission
        self._playing: AsyncGenerator[Event, None] | None = None

    @property
    def last_seq(self) -> int:
        """As `EventStream.last_seq`."""
        return self._source.cursor.told

    async def text_deltas(self) -> AsyncGenerator[str, None]:
        """As `EventStream.text_deltas`."""
        async for event in self:
            if isinstance(event, TextEvent):
                yield event.content

    async def answer(
        self, permission_id: str, decision: Decision | None = None, *, option_id: str | None = None
    ) -> PermissionAnswered:
        """As `EventStream.answer`."""
        return await self._wire.perform(
            _streams.answer(self._core, self._source, permission_id, decision, option_id)
        )

    async def close(self) -> None:
        """As `EventStream.close`."""
        playing, self._playing = self._playing, None
        if playing is not None:
            await playing.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        if self._playing is None:
            self._playing = self._wire.play(_streams.heard(self._core, self._source, None, self._on_permission))
        try:
            event = await anext(self._playing)
        except BaseException:
            self._playing = None
            raise
        self._source.cursor.told = event.seq
        return event

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._source.session_id or 'not begun'} after {self.last_seq}>"


class AsyncTurnStream(AsyncEventStream, Generic[R]):
    """As `TurnStream`."""

    _source: PromptEvents

    @property
    def session_id(self) -> str | None:
        """As `TurnStream.session_id`."""
        return self._source.session_id

    @property
    def turn_index(self) -> int | None:
        """As `TurnStream.turn_index`."""
        return self._source.cursor.turn_index

    async def result(self) -> R:
        """As `TurnStream.result`."""
        async for _ in self:
            """What it tells is in the result, too."""
        result: R = await self._wire.perform(self._source.result(self._core))
        return result

    async def cancel(self) -> bool:
        """As `TurnStream.cancel`. Another task may call this."""
        return await self._wire.perform(self._source.cancel(self._core))
