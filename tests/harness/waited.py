"""The asynchronous twin, used as if it were the other one, by threads: its loop runs in one of its own.

So one test is played with both, also where something goes on meanwhile.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, Self, cast

from clawdforge import AsyncForge, Forge

PATIENCE_S = 60
TWINS = ("sync", "async")


@contextmanager
def forge_of(twin: str, *, core: Mapping[str, Any] | None = None, **options: Any) -> Iterator[Forge]:
    """A Forge, or an AsyncForge in a Forge's clothes. Of its `Core` the fields in `core` are as given there."""
    forge = Forge(**options) if twin == "sync" else AsyncForge(**options)
    forge._core = replace(forge._core, **(core or {}))
    if isinstance(forge, Forge):
        with forge:
            yield forge
    else:
        with _running_loop() as loop, _Waited(forge, loop) as waited:
            yield cast("Forge", waited)


class _Waited:
    """An object whose calls are awaited in another thread's loop, and whose asynchronous iterators are plain."""

    def __init__(self, inner: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._inner = inner
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        return self._plain(getattr(self._inner, name))

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        try:
            return self._await(anext(self._inner))
        except StopAsyncIteration:
            raise StopIteration from None

    def __enter__(self) -> Self:
        self._await(self._inner.__aenter__())
        return self

    def __exit__(self, *error: Any) -> None:
        self._await(self._inner.__aexit__(*error))

    def _plain(self, value: Any) -> Any:
        if inspect.ismethod(value):
            return lambda *args, **options: self._plain(value(*args, **options))
        if inspect.isawaitable(value):
            return self._plain(self._await(value))
        if isinstance(value, AsyncIterator) or type(value).__module__.startswith("clawdforge.client.aio"):
            return _Waited(value, self._loop)
        return value

    def _await(self, awaitable: Any) -> Any:
        async def awaited() -> Any:
            return await awaitable

        return asyncio.run_coroutine_threadsafe(awaited(), self._loop).result(PATIENCE_S)


@contextmanager
def _running_loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        with suppress(RuntimeError):
            asyncio.run_coroutine_threadsafe(loop.shutdown_asyncgens(), loop).result(PATIENCE_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE_S)
        loop.close()
