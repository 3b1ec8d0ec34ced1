"""What apps have used, summed up from the audit. Must not know who asks, or how it is written down."""

from __future__ import annotations

import asyncio

from clawdforge.server.store.base import Store
from clawdforge.wire.usage import By, UsageReport


class UsageReports:
    """Answers one question at a time: one over years of turns must not keep all of the store's readers busy."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._one_at_a_time = asyncio.Lock()

    async def report(self, app_id: str, *, since: int | None, until: int | None, by: By | None) -> UsageReport:
        """What the app's turns took that began from `since` on and before `until` (epoch seconds)."""
        async with self._one_at_a_time:
            return await self._store.usage(app_id, since=since, until=until, by=by)
