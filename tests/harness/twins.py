"""Both twins of the SDK by one face, so that a scenario is written once: asynchronously, and played with either.

Must not smooth over a difference: what comes back, what is raised and what goes over the wire is the twin's own.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final

from clawdforge import (
    AsyncEventStream,
    AsyncForge,
    AsyncSession,
    AsyncSessionFiles,
    AsyncTurnStream,
    EventStream,
    Forge,
    Session,
    SessionFiles,
    TurnStream,
)

PAIRS: Final[tuple[tuple[type, type], ...]] = (
    (Forge, AsyncForge),
    (Session, AsyncSession),
    (SessionFiles, AsyncSessionFiles),
    (EventStream, AsyncEventStream),
    (TurnStream, AsyncTurnStream),
)
AT_ONCE: Final = frozenset(
    "session with_options stream events sessions runs turns list text_deltas".split()  # noqa: SIM905 - it reads better
)
"""Methods that send nothing by themselves, and so are awaited in neither twin."""

_SYNC: Final = tuple(sync for sync, _ in PAIRS)
_ASYNC: Final = tuple(twin for _, twin in PAIRS)


class Twin:
    """One of the twins: calling it makes a Forge. `used` has what was asked of it, as `Forge.run`."""

    def __init__(self, cls: type[Forge] | type[AsyncForge]) -> None:
        self.cls = cls
        self.is_async = cls is AsyncForge
        self.used: set[str] = set()

    def __call__(self, **settings: Any) -> Any:
        return _neutral(self.cls(**settings), self.used)


def _neutral(value: Any, used: set[str]) -> Any:
    if isinstance(value, _SYNC + _ASYNC):
        return _Held(value, used)
    if isinstance(value, Iterator):
        return _items(value)
    return value


async def _items(items: Iterator[Any]) -> AsyncIterator[Any]:
    for each in items:
        yield each


class _Held:
    """An object of a twin's. Its methods are awaited, those of `AT_ONCE` aside; its properties are read."""

    def __init__(self, held: Any, used: set[str]) -> None:
        self._held = held
        self._used = used
        self._is_async = isinstance(held, _ASYNC)
        self._name = type(held).__name__.removeprefix("Async")

    def __getattr__(self, name: str) -> Any:
        self._used.add(f"{self._name}.{name}")
        value = getattr(self._held, name)
        return self._method(name, value) if inspect.ismethod(value) else _neutral(value, self._used)

    def _method(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def at_once(*args: Any, **options: Any) -> Any:
            return _neutral(method(*args, **options), self._used)

        async def awaited(*args: Any, **options: Any) -> Any:
            came = method(*args, **options)
            return _neutral(await came if self._is_async else came, self._used)

        return at_once if name in AT_ONCE else awaited

    async def __aenter__(self) -> Any:
        entered = await self._held.__aenter__() if self._is_async else self._held.__enter__()
        assert entered is self._held
        return self

    async def __aexit__(self, *how: Any) -> None:
        left = await self._held.__aexit__(*how) if self._is_async else self._held.__exit__(*how)
        assert not left

    def __aiter__(self) -> Any:
        assert (aiter if self._is_async else iter)(self._held) is self._held
        return self

    async def __anext__(self) -> Any:
        if self._is_async:
            return await anext(self._held)
        try:
            return next(self._held)
        except StopIteration:
            raise StopAsyncIteration from None

    def __repr__(self) -> str:
        return repr(self._held)
