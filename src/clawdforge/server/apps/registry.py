"""The apps: minted, listed, revoked, and recognised by their tokens.

All apps are in memory, read from the store at the start: the gateway is their only owner. A token is shown once
and kept as its SHA-256. This module must not know HTTP, nor what an app does.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from clawdforge.server.apps.addresses import Address, Network, network, within
from clawdforge.server.store.base import NameTaken, Store
from clawdforge.server.store.stored import AppRow
from clawdforge.server.store.writes import AddApp, RevokeApp, TouchApp
from clawdforge.wire.apps import TokenInfo
from clawdforge.wire.problems import Problem, invalid

TOKEN_BYTES: Final = 32
ID_BYTES: Final = 16
NAME_LIMIT: Final = 100
CIDR_LIMIT: Final = 256
TOUCH_INTERVAL_S: Final = 60

_UNPRINTABLE: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})  # control, half a surrogate pair, line and paragraph end


@dataclass(frozen=True, slots=True)
class App:
    """A tenant. `networks` are the addresses that its token may be used from; none means any."""

    app_id: str
    name: str
    networks: tuple[Network, ...]
    created_at: int


@dataclass(slots=True)
class _Entry:
    """An app and its row, and when its last use was last stored."""

    app: App
    row: AppRow
    touch_stored_at: float = 0.0


class AppRegistry:
    """The apps of one gateway. Made by `open`; belongs to the event loop."""

    def __init__(
        self, store: Store, rows: Sequence[AppRow], clock: Callable[[], float], random: Callable[[int], bytes]
    ) -> None:
        self._store = store
        self._clock = clock
        self._random = random
        self._entries: dict[str, _Entry] = {}
        self._by_digest: dict[bytes, _Entry] = {}
        for row in rows:
            self._take(row)

    @classmethod
    async def open(
        cls,
        store: Store,
        *,
        clock: Callable[[], float] = time.time,
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> AppRegistry:
        """Reads the apps. `clock` tells epoch seconds, `random` gives so many unguessable bytes."""
        return cls(store, await store.apps(), clock, random)

    async def mint(self, name: str, ip_cidrs: Sequence[str] = ()) -> tuple[App, str]:
        """Makes an app, and the token that it is recognised by from now on; it cannot be shown again.

        Raises:
            Problem: `invalid` for a name or a network that is none; `name_taken`.
            StorageError: it could not be stored.
        """
        name = _checked_name(name)
        networks = _checked_networks(ip_cidrs)
        token = "cf_" + base64.urlsafe_b64encode(self._random(TOKEN_BYTES)).decode().rstrip("=")
        row = AppRow(
            app_id="app_" + self._random(ID_BYTES).hex(),
            name=name,
            token_sha256=hashlib.sha256(token.encode()).digest(),
            ip_cidrs=tuple(str(each) for each in networks),
            created_at=int(self._clock()),
        )
        try:
            await self._store.write(AddApp(row))
        except NameTaken:
            raise Problem("name_taken", "a token of this name exists; revoke it first or choose another") from None
        return self._take(row).app, token

    async def revoke(self, name: str) -> App:
        """Takes an app's token out of use, and says whose; the same again for one that was revoked before.

        Raises:
            Problem: `not_found` where no token ever had this name.
            StorageError: it could not be stored, and the token stays in use.
        """
        name = unicodedata.normalize("NFC", name)
        named = [entry for entry in self._entries.values() if entry.row.name == name]
        if not named:
            raise Problem("not_found", "token not found")
        entry = named[-1]
        if entry.row.revoked_at is None:
            revoked_at = int(self._clock())
            await self._store.write(RevokeApp(entry.app.app_id, revoked_at))
            entry.row = replace(entry.row, revoked_at=revoked_at)
            self._by_digest.pop(entry.row.token_sha256, None)
        return entry.app

    def list(self) -> list[TokenInfo]:
        """All apps, revoked ones too, oldest first."""
        rows = (entry.row for entry in self._entries.values())
        return [
            TokenInfo(row.name, [*row.ip_cidrs], row.created_at, row.last_used_at, row.revoked_at) for row in rows
        ]

    def authenticate(self, token: bytes) -> App | None:
        """The app that holds this token; None where there is none, or none any more.

        The work does not tell how close a guess came: what is looked up and compared is its hash.
        """
        digest = hashlib.sha256(token).digest()
        entry = self._by_digest.get(digest)
        known = hmac.compare_digest(digest if entry is None else entry.row.token_sha256, digest)
        return entry.app if known and entry is not None else None

    def admits(self, app: App, address: Address) -> bool:
        """Whether the app's token may be used from this address; loopback is no exception."""
        return not app.networks or within(address, app.networks)

    def touch(self, app: App) -> None:
        """Notes that the app's token was used now. It is stored at most once a minute."""
        now = self._clock()
        entry = self._entries[app.app_id]
        if entry.row.last_used_at != int(now):
            entry.row = replace(entry.row, last_used_at=int(now))
        # A clock that was set back must not stop the notes: the distance counts, not its sign.
        if abs(now - entry.touch_stored_at) >= TOUCH_INTERVAL_S:
            entry.touch_stored_at = now
            stored = self._store.write(TouchApp(app.app_id, int(now)), flush=False)
            # Nobody waits for it: a note that is lost is written again in a minute.
            stored.add_done_callback(lambda done: done.cancelled() or done.exception())

    def _take(self, row: AppRow) -> _Entry:
        app = App(row.app_id, row.name, tuple(network(cidr) for cidr in row.ip_cidrs), row.created_at)
        entry = self._entries[row.app_id] = _Entry(app, row)
        if row.revoked_at is None:
            self._by_digest[row.token_sha256] = entry
        return entry


def _checked_name(name: str) -> str:
    name = unicodedata.normalize("NFC", name)
    if not name.strip():
        raise invalid("a name must not be blank", "name")
    if len(name) > NAME_LIMIT:
        raise invalid(f"a name has at most {NAME_LIMIT} characters", "name")
    if any(unicodedata.category(character) in _UNPRINTABLE for character in name):
        raise invalid("a name must not hold control characters", "name")
    if "/" in name or name in {".", ".."}:
        raise invalid("a name must not hold a slash, nor be . or ..: it stands in URLs", "name")
    return name


def _checked_networks(ip_cidrs: Sequence[str]) -> tuple[Network, ...]:
    if len(ip_cidrs) > CIDR_LIMIT:
        raise invalid(f"there are at most {CIDR_LIMIT} networks", "ip_cidrs")
    networks: dict[Network, None] = {}
    for place, cidr in enumerate(ip_cidrs):
        try:
            networks[network(cidr)] = None
        except ValueError:
            raise invalid("this is no network: write it like 10.0.0.0/8 or ::1", "ip_cidrs", place) from None
    return tuple(networks)
