"""A session as an asynchronous app holds it: the twin of `session`."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from clawdforge.client import _api, _asking, _calls, _flow, _turns
from clawdforge.client._call import Call
from clawdforge.client._calls import Files
from clawdforge.client._core import Core
from clawdforge.client._facts import SessionFacts

if TYPE_CHECKING:
    from typing import Unpack

    from clawdforge.client._httpx import AsyncWire
    from clawdforge.client.aio_files import AsyncSessionFiles
    from clawdforge.client.aio_stream import AsyncEventStream, AsyncTurnStream, OnPermission
    from clawdforge.client.events import Event
    from clawdforge.client.options import TurnOptions
    from clawdforge.wire.diffs import TurnDiff
    from clawdforge.wire.permissions import Decision, PermissionAnswered, PermissionItem
    from clawdforge.wire.sessions import SessionCreated
    from clawdforge.wire.turns import TurnResult

T = TypeVar("T")


class AsyncSession(SessionFacts):
    """As `Session`, for `async with`."""

    def __init__(
        self,
        wire: AsyncWire,
        core: Core,
        *,
        opening: Call | None = None,
        created: SessionCreated | None = None,
        schema: Any = None,
    ) -> None:
        super().__init__(core, opening=opening, created=created, schema=schema)
        self._wire = wire

    async def open(self) -> Self:
        """As `Session.open`."""
        await self._wire.perform(self._open())
        return self

    @property
    def files(self) -> AsyncSessionFiles:
        """As `Session.files`."""
        from clawdforge.client.aio_files import AsyncSessionFiles

        return AsyncSessionFiles(self._wire, self._core, self.session_id)

    async def state(self) -> dict[str, Any]:
        """As `Session.state`."""
        return await self._wire.perform(_flow.ask(self._core, _calls.record(self.session_id)))

    @overload
    async def turn(
        self,
        prompt: str,
        files: Files = None,
        timeout_secs: float | None = None,
        *,
        schema: type[T],
        on_event: Callable[[Event], object] | None = None,
        on_permission: OnPermission | None = None,
        **options: Unpack[TurnOptions],
    ) -> TurnResult[T]: ...
    @overload
    async def turn(
        self,
        prompt: str,
        files: Files = None,
        timeout_secs: float | None = None,
        schema: Mapping[str, Any] | None = None,
        *,
        on_event: Callable[[Event], object] | None = None,
        on_permission: OnPermission | None = None,
        **options: Unpack[TurnOptions],
    ) -> TurnResult[Any]: ...
    async def turn(
        self,
        prompt: str,
        files: Files = None,
        timeout_secs: float | None = None,
        schema: Any = None,
        *,
        on_event: Callable[[Event], object] | None = None,
        on_permission: OnPermission | None = None,
        **options: Unpack[TurnOptions],
    ) -> TurnResult[Any]:
        """As `Session.turn`."""
        limit = self._core.limit_secs(timeout_secs)
        prompted = self._prompted(prompt, files, limit, schema, options)
        result: TurnResult[Any] = await self._wire.perform(
            _turns.answer(self._core, prompted, on_event, on_permission)
        )
        return result

    @overload
    def stream(
        self,
        prompt: str,
        files: Files = None,
        timeout_secs: float | None = None,
        *,
        schema: type[T],
        on_permission: OnPermission | None = None,
        **options: Unpack[TurnOptions],
    ) -> AsyncTurnStream[TurnResult[T]]: ...
    @overload
    def stream(
        self,
        prompt: str,
        files: Files = None,
        timeout_secs: float | None = None,
        schema: Mapping[str, Any] | None = None,
        *,
        on_permission: OnPermission | None = None,
        **options: Unpack[TurnOptions],
    ) -> AsyncTurnStream[TurnResult[Any]]: ...
    def stream(
        self,
        prompt: str,
        files: Files = None,
        timeout_secs: float | None = None,
        schema: Any = None,
        *,
        on_permission: OnPermission | None = None,
        **options: Unpack[TurnOptions],
    ) -> AsyncTurnStream[Any]:
        """As `Session.stream`."""
        from clawdforge.client import _sources, aio_stream

        source = _sources.PromptEvents(self._prompted(prompt, files, timeout_secs, schema, options))
        return aio_stream.AsyncTurnStream(self._wire, self._core, source, on_permission)

    def _prompted(
        self, prompt: str, files: Files, timeout_secs: float | None, schema: Any, options: Mapping[str, Any]
    ) -> _asking.Prompted:
        return _asking.turn(
            self._core,
            self._open_id(),
            prompt,
            files=files,
            timeout_secs=timeout_secs,
            schema=schema,
            inherited=self._schema,
            **options,
        )

    def events(self, after: int = 0, *, follow: bool = True) -> AsyncEventStream:
        """As `Session.events`."""
        from clawdforge.client import _sources, aio_stream
        from clawdforge.client._cursor import Cursor

        source = _sources.SessionEvents(self.session_id, Cursor(after), follow)
        return aio_stream.AsyncEventStream(self._wire, self._core, source)

    def turns(self) -> AsyncIterator[dict[str, Any]]:
        """As `Session.turns`."""
        return self._wire.play(_flow.pages(self._core, _calls.list_turns(self.session_id), "turns"))

    async def get_turn(self, turn_index: int) -> dict[str, Any]:
        """As `Session.get_turn`."""
        return await self._wire.perform(_flow.ask(self._core, _calls.get_turn(self.session_id, turn_index)))

    async def cancel(self, turn_index: int | None = None) -> bool:
        """As `Session.cancel`."""
        return _api.cancelled(
            await self._wire.perform(_flow.ask(self._core, _calls.cancel(self.session_id, turn_index)))
        )

    async def permissions(self) -> list[PermissionItem]:
        """As `Session.permissions`."""
        return _api.permission_items(
            await self._wire.perform(_flow.ask(self._core, _calls.list_permissions(self.session_id)))
        )

    async def answer(
        self, permission_id: str, decision: Decision | None = None, *, option_id: str | None = None
    ) -> PermissionAnswered:
        """As `Session.answer`."""
        call = _calls.answer_permission(self.session_id, permission_id, decision=decision, option_id=option_id)
        return _api.permission_answered(await self._wire.perform(_flow.ask(self._core, call)))

    async def diff(self, turn: int | None = None) -> TurnDiff:
        """As `Session.diff`."""
        return _api.turn_diff(await self._wire.perform(_flow.ask(self._core, _calls.diff(self.session_id, turn))))

    async def fork(self, meta: Mapping[str, Any] | None = None) -> AsyncSession:
        """As `Session.fork`."""
        body = await self._wire.perform(_flow.ask(self._core, _calls.fork(self.session_id, meta)))
        return AsyncSession(self._wire, self._core, created=_api.session_forked(body), schema=self._schema)

    async def close(self) -> None:
        """As `Session.close`."""
        await self._wire.perform(self._close(sys.exc_info()[1]))

    async def __aenter__(self) -> Self:
        await self._wire.perform(self._enter())
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
