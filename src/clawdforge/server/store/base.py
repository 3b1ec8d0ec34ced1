"""What the gateway keeps: the protocol of a store, and how it fails.

Changes written together are one atomic unit; the future that `write` returns is done when they are durable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from clawdforge.server.store.stored import (
    AppRow,
    AuditRow,
    KeyRow,
    RunRow,
    SessionKind,
    SessionRow,
    TurnRow,
    UploadRow,
)
from clawdforge.server.store.writes import AppendEvents, Change
from clawdforge.wire.events import EncodedEvent, Event
from clawdforge.wire.usage import By, UsageReport


class StorageError(Exception):
    """A change was not stored, and will not be: nothing of its unit is in the store.

    Attributes:
        full: the disk, or a quota of it, has no room left.
    """

    def __init__(self, detail: str, *, full: bool = False) -> None:
        super().__init__(detail)
        self.full = full


class NameTaken(StorageError):
    """A unique name is in use already."""


class StoreUnusable(Exception):
    """The store cannot be opened; the message says why, and what to do."""


class Store(Protocol):
    """One gateway's memory. All methods belong to the gateway's event loop, except where noted."""

    def write(self, *changes: Change, flush: bool = True) -> asyncio.Future[None]:
        """Hands in changes as one atomic unit, in order after every unit handed in before.

        The future is done once they are durable, or has StorageError when they could not be stored; text with
        NUL or half a surrogate pair never is. With `flush=False` they may wait for company: a later flushed
        unit, `linger_s`, or a bound on bytes. A unit of no changes is done when all before it are.
        """

    async def apps(self) -> list[AppRow]:
        """All apps, oldest first."""

    async def session(self, session_id: str) -> SessionRow | None:
        """One session of any app or kind."""

    async def sessions(
        self,
        app_id: str,
        *,
        kind: SessionKind = "session",
        include_closed: bool = True,
        limit: int | None = None,
        before: tuple[int, str] | None = None,
    ) -> list[SessionRow]:
        """An app's sessions, newest first by (`created_at`, order of creation).

        `before` is the (`created_at`, `session_id`) of the last row of the page before.
        """

    async def runs(self, app_id: str, *, limit: int, before: tuple[int, str] | None = None) -> list[RunRow]:
        """An app's runs, in the order of `sessions`."""

    async def run(self, run_id: str) -> RunRow | None:
        """One run of any app; None for a session."""

    async def open_sessions(self) -> list[SessionRow]:
        """Every session and run, of all apps, that is not closed."""

    async def closed_before(self, closed_at: int, limit: int) -> list[SessionRow]:
        """Sessions and runs that were closed before a time, oldest first."""

    async def unfinished_turns(self, session_id: str | None = None) -> list[TurnRow]:
        """Turns, running or queued, that have not ended, of one session or all; those of a session in order.

        After a start they are those that an earlier gateway left.
        """

    async def turn(self, session_id: str, turn_index: int) -> TurnRow | None:
        """One turn."""

    async def turns(self, session_id: str, *, limit: int, before: int | None = None) -> list[TurnRow]:
        """A session's turns, newest first; `before` is the `turn_index` of the last row of the page before."""

    async def key(self, app_id: str, key: str) -> KeyRow | None:
        """What came of an app's idempotency key."""

    async def events(
        self, session_id: str, *, after: int = 0, turn_index: int | None = None, limit: int | None = None
    ) -> list[Event]:
        """A session's events with `seq` greater than `after`, in order."""

    async def encoded_events(
        self, session_id: str, *, after: int = 0, turn_index: int | None = None, limit: int, limit_bytes: int
    ) -> list[EncodedEvent]:
        """The same as they lie in the store: at most `limit`, and none after `limit_bytes` of them."""

    def watch(self, on_stored: Callable[[Sequence[AppendEvents]], None]) -> None:
        """Has `on_stored` called on the loop with all events of each commit, in order, once they are durable."""

    async def permission_answer(self, session_id: str, permission_id: str) -> Event | None:
        """The event that tells what became of a permission request; None where it has none, or there was none."""

    async def last_seq(self, session_id: str) -> int:
        """The greatest `seq` of a session's events, 0 where there are none."""

    async def upload(self, token: str) -> UploadRow | None:
        """One uploaded file, expired or not."""

    async def uploads_expired(self, now: int, limit: int) -> list[UploadRow]:
        """Uploads whose time is over."""

    async def blob_in_use(self, sha256: str) -> bool:
        """Whether any upload still names these bytes."""

    async def audit(self, app_id: str | None = None, limit: int = 100) -> list[AuditRow]:
        """Lines of the audit, newest first."""

    async def usage(
        self, app_id: str, *, since: int | None = None, until: int | None = None, by: By | None = None
    ) -> UsageReport:
        """What an app's turns took, those of removed sessions too (see `wire.usage.UsageReport`)."""

    async def close(self) -> None:
        """Writes what was handed in, then lets go of the files. Later writes raise StorageError."""
