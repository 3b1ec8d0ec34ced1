"""The asynchronous client: the twin of `forge`. Its steps are performed by `_httpx`."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from clawdforge.client import _api, _asking, _bodies, _calls, _config, _flow, _local, _log, _turns
from clawdforge.client._call import Call
from clawdforge.client._calls import Files
from clawdforge.client._core import Core
from clawdforge.client.aio_session import AsyncSession

if TYPE_CHECKING:
    from typing import Unpack

    import httpx2

    from clawdforge.client._bodies import OnProgress
    from clawdforge.client._local import FileLike
    from clawdforge.client.aio_stream import AsyncTurnStream, OnPermission
    from clawdforge.client.events import Event
    from clawdforge.client.options import RunOptions, SessionOptions
    from clawdforge.wire.apps import AppToken
    from clawdforge.wire.files import FileToken
    from clawdforge.wire.runs import RunResult
    from clawdforge.wire.usage import By

T = TypeVar("T")


class AsyncForge:
    """As `Forge`, for `async with`. Needs the extra `async`.

    One AsyncForge may be used by many tasks at once. Its connections belong to the event loop that it is used in,
    and end with it; in another loop, as of the next `asyncio.run`, it makes new ones.

    Args:
        session: an `httpx2.AsyncClient` to send through, with your own proxies, certificates and transports. It is
            neither changed nor closed.
        base_url, token, default_model, default_timeout_secs, http_timeout_margin, retries: as `Forge` has them.

    Raises:
        ImportError: httpx2 is not installed.
        ValueError: an argument, or what the environment holds, cannot be used.
    """

    def __init__(
        self,
        *,
        base_url: str | None = None,
        token: str | None = None,
        default_model: str | None = None,
        default_timeout_secs: int = 120,
        http_timeout_margin: float = 30,
        session: httpx2.AsyncClient | None = None,
        retries: int = 2,
    ) -> None:
        from clawdforge.client._httpx import AsyncWire  # so the class can be looked at without its extra

        _log.show(os.environ)
        self._config = config = _config.resolve(base_url, token, os.environ)
        self._core = Core(config, http_timeout_margin, retries, default_timeout_secs, default_model)
        self._wire = AsyncWire(config, session)

    @property
    def base_url(self) -> str:
        """As `Forge.base_url`."""
        return self._config.base_url

    @property
    def default_timeout_secs(self) -> int:
        """As `Forge.default_timeout_secs`."""
        return self._core.timeout_secs

    def with_options(self, *, timeout_secs: float | None = None, retries: int | None = None) -> Self:
        """As `Forge.with_options`."""
        other = object.__new__(type(self))
        other._config, other._wire = self._config, self._wire
        other._core = self._core.with_options(timeout_secs, retries)
        return other

    async def healthz(self) -> dict[str, Any]:
        """As `Forge.healthz`."""
        return await self._ask(_calls.healthz())

    @overload
    async def run(
        self,
        prompt: str,
        *,
        schema: type[T],
        files: Files = None,
        timeout_secs: float | None = None,
        on_event: Callable[[Event], object] | None = None,
        on_permission: OnPermission | None = None,
        **options: Unpack[RunOptions],
    ) -> RunResult[T]: ...
    @overload
    async def run(
        self,
        prompt: str,
        *,
        schema: Mapping[str, Any] | None = None,
        files: Files = None,
        timeout_secs: float | None = None,
        on_event: Callable[[Event], object] | None = None,
        on_permission: OnPermission | None = None,
        **options: Unpack[RunOptions],
    ) -> RunResult[Any]: ...
    async def run(
        self,
        prompt: str,
        *,
        schema: Any = None,
        files: Files = None,
        timeout_secs: float | None = None,
        on_event: Callable[[Event], object] | None = None,
        on_permission: OnPermission | None = None,
        **options: Unpack[RunOptions],
    ) -> RunResult[Any]:
        """As `Forge.run`."""
        prompted = _asking.run(
            self._core,
            prompt,
            schema=schema,
            files=files,
            timeout_secs=self._core.limit_secs(timeout_secs),
            asks=on_permission is not None,
            **options,
        )
        result: RunResult[Any] = await self._wire.perform(
            _turns.answer(self._core, prompted, on_event, on_permission)
        )
        return result

    @overload
    def stream(
        self,
        prompt: str,
        *,
        schema: type[T],
        files: Files = None,
        timeout_secs: float | None = None,
        on_permission: OnPermission | None = None,
        **options: Unpack[RunOptions],
    ) -> AsyncTurnStream[RunResult[T]]: ...
    @overload
    def stream(
        self,
        prompt: str,
        *,
        schema: Mapping[str, Any] | None = None,
        files: Files = None,
        timeout_secs: float | None = None,
        on_permission: OnPermission | None = None,
        **options: Unpack[RunOptions],
    ) -> AsyncTurnStream[RunResult[Any]]: ...
    def stream(
        self,
        prompt: str,
        *,
        schema: Any = None,
        files: Files = None,
        timeout_secs: float | None = None,
        on_permission: OnPermission | None = None,
        **options: Unpack[RunOptions],
    ) -> AsyncTurnStream[Any]:
        """As `Forge.stream`."""
        from clawdforge.client import _sources, aio_stream

        prompted = _asking.run(
            self._core,
            prompt,
            schema=schema,
            files=files,
            timeout_secs=timeout_secs,
            asks=on_permission is not None,
            **options,
        )
        return aio_stream.AsyncTurnStream(self._wire, self._core, _sources.PromptEvents(prompted), on_permission)

    async def upload_file(
        self, path_or_fileobj: FileLike, ttl_secs: int | None = None, on_progress: OnProgress | None = None
    ) -> FileToken:
        """As `Forge.upload_file`."""
        with _local.source(path_or_fileobj, on_progress) as (source, name):
            fields = {} if ttl_secs is None else {"ttl_secs": str(ttl_secs)}
            body = _bodies.form(source, name, fields, boundary=secrets.token_hex(16))
            return _api.file_token(await self._ask(_calls.upload(body)))

    async def get_file(self, file: str | FileToken) -> dict[str, Any]:
        """As `Forge.get_file`."""
        return await self._ask(_calls.get_file(file))

    async def delete_file(self, file: str | FileToken) -> dict[str, Any]:
        """As `Forge.delete_file`."""
        return await self._ask(_calls.delete_file(file))

    def session(
        self,
        agent: str | None = None,
        meta: Mapping[str, Any] | None = None,
        *,
        schema: Any = None,
        **options: Unpack[SessionOptions],
    ) -> AsyncSession:
        """As `Forge.session`."""
        call = _calls.create_session(
            patience_s=self._core.timeout_secs,
            agent=agent,
            meta=meta,
            schema=_asking.schema_of(schema),
            **options,
        )
        core = self._core.with_options(options.get("timeout_secs"), None)
        return AsyncSession(self._wire, core, opening=call, schema=schema)

    async def create_session(
        self,
        agent: str | None = None,
        meta: Mapping[str, Any] | None = None,
        *,
        schema: Any = None,
        **options: Unpack[SessionOptions],
    ) -> AsyncSession:
        """As `Forge.create_session`."""
        return await self.session(agent, meta, schema=schema, **options).open()

    async def attach_session(self, session_id: str) -> AsyncSession:
        """As `Forge.attach_session`."""
        state = {**(await self._ask(_calls.record(session_id))), "session_id": session_id}
        return AsyncSession(self._wire, self._core, created=_api.session_created(state))

    async def list_sessions(self, include_closed: bool = True) -> dict[str, Any]:
        """As `Forge.list_sessions`."""
        return await self._ask(_calls.list_sessions(include_closed=include_closed))

    def sessions(self, include_closed: bool = True) -> AsyncIterator[dict[str, Any]]:
        """As `Forge.sessions`."""
        call = _calls.list_sessions(include_closed=include_closed, limit=_calls.PAGE_ROWS)
        return self._wire.play(_flow.pages(self._core, call, "sessions"))

    async def get_session(self, session_id: str) -> dict[str, Any]:
        """As `Forge.get_session`."""
        return await self._ask(_calls.get_session(session_id))

    def runs(self) -> AsyncIterator[dict[str, Any]]:
        """As `Forge.runs`."""
        return self._wire.play(_flow.pages(self._core, _calls.list_runs(), "runs"))

    async def get_run(self, run_id: str) -> dict[str, Any]:
        """As `Forge.get_run`."""
        return await self._ask(_calls.get_run(run_id))

    async def usage(
        self, since: float | None = None, until: float | None = None, by: By | None = None
    ) -> dict[str, Any]:
        """As `Forge.usage`."""
        return await self._ask(_calls.usage(since=since, until=until, by=by))

    async def agents(self) -> dict[str, Any]:
        """As `Forge.agents`."""
        return await self._ask(_calls.agents())

    async def mint_token(self, name: str, ip_cidrs: Iterable[str] | None = None) -> AppToken:
        """As `Forge.mint_token`."""
        return _api.app_token(await self._ask(_calls.mint_token(name, ip_cidrs)))

    async def list_tokens(self) -> list[dict[str, Any]]:
        """As `Forge.list_tokens`."""
        return _api.rows(await self._ask(_calls.list_tokens()), "tokens")

    async def revoke_token(self, name: str) -> dict[str, Any]:
        """As `Forge.revoke_token`."""
        return await self._ask(_calls.revoke_token(name))

    async def close(self) -> None:
        """As `Forge.close`."""
        await self._wire.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._config.base_url}>"

    async def _ask(self, call: Call) -> dict[str, Any]:
        return await self._wire.perform(_flow.ask(self._core, call))
