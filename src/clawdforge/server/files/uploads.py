"""Uploads: which app handed in which file, under which token, and until when.

The rows are in the store, the bytes among the blobs: equal bytes lie there once. A blob is removed when no
upload names it any more.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from clawdforge.server.data_dir import no_room, tell_if_full
from clawdforge.server.files.blobs import Blobs, Incoming
from clawdforge.server.store.base import StorageError, Store
from clawdforge.server.store.stored import UploadRow
from clawdforge.server.store.writes import AddUpload, Change, RemoveUpload
from clawdforge.server.workspaces import contents, names, paths
from clawdforge.server.workspaces.contents import Contents
from clawdforge.wire.problems import Problem

TOKEN_BYTES: Final = 24
LAID_AT_ONCE: Final = 3
"""Large files are copied for seconds, in threads that others need too."""
SWEEP_LIMIT: Final = 500
"""Uploads removed in one sweep: the next one goes on."""

Note = Callable[[UploadRow], Change]
"""What is stored with an upload."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """An upload that is on the disk, and not yet among the blobs."""

    unplaced: Path
    sha256: str
    size: int


class Uploads:
    """The uploads of one gateway. Made by `open`; belongs to the event loop, except where noted.

    Attributes:
        laying: to be held while files are laid.
    """

    def __init__(
        self,
        store: Store,
        blobs: Blobs,
        limit_bytes: int,
        clock: Callable[[], float],
        random: Callable[[int], bytes],
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._limit_bytes = limit_bytes
        self._clock = clock
        self._random = random
        # Held from where a blob is placed until its row is stored, and from where a blob is found unused until
        # it is removed: so neither comes between the halves of the other.
        self._placing = asyncio.Lock()
        self.laying: asyncio.Semaphore = asyncio.Semaphore(LAID_AT_ONCE)

    @classmethod
    async def open(
        cls,
        store: Store,
        data_dir: Path,
        limit_bytes: int,
        *,
        clock: Callable[[], float] = time.time,
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> Uploads:
        """Opens the uploads of a data directory, and removes what a crash left behind.

        Args:
            store: where the rows are.
            data_dir: the bytes lie in `blobs/` in it.
            limit_bytes: the size of the largest upload.
            clock: tells epoch seconds.
            random: gives so many unguessable bytes.

        Raises:
            OSError: the directory of blobs cannot be used.
        """
        blobs = await asyncio.to_thread(Blobs, data_dir / "blobs")
        self = cls(store, blobs, limit_bytes, clock, random)
        for sha256 in await asyncio.to_thread(lambda: list(blobs.hashes())):
            await self._remove_unused(sha256)
        return self

    def receive(self, app_id: str) -> Receiving:
        """Begins an upload of an app."""
        return Receiving(self, app_id, self._blobs.receive(self._limit_bytes))

    def stage(self) -> Incoming:
        """Begins a file that becomes no upload: whoever finishes it moves it away, or aborts it."""
        return self._blobs.receive(self._limit_bytes)

    async def get(self, app_id: str, token: str) -> UploadRow:
        """One of the app's uploads.

        Raises:
            Problem: `not_found`, one and the same for a token that is unknown, foreign, expired or removed.
        """
        upload = await self._store.upload(token)
        if upload is None or upload.app_id != app_id or upload.expires_at <= self._clock():
            raise _not_found()
        return upload

    async def resolve(self, app_id: str, tokens: Iterable[str]) -> list[UploadRow]:
        """The app's uploads that these tokens name, in their order.

        Raises:
            Problem: `not_found`, for any of them.
        """
        return [await self.get(app_id, token) for token in tokens]

    async def remove(self, app_id: str, token: str) -> None:
        """Drops an upload of the app before its time.

        Raises:
            Problem: `not_found`.
        """
        await self._drop(await self.get(app_id, token))

    def lay(
        self, upload: UploadRow, workspace: Path, room_bytes: int, go_on: Callable[[], None]
    ) -> tuple[Path, Contents | None]:
        """Copies an upload into a workspace under its name. Blocks; for any thread.

        An upload that is removed meanwhile is laid whole all the same.

        Args:
            upload: which one.
            workspace: where to.
            room_bytes: how large what the file holds may be in a message.
            go_on: called now and then; what it raises ends the copy, and leaves nothing of it.

        Returns:
            Where it lies, and what it holds where that can be shown to a model (`contents.read`).

        Raises:
            Problem: `not_found` where it is gone already, `storage_full`.
            OSError: it cannot be written there.
        """
        try:
            source = self._blobs.path_of(upload.sha256).open("rb", buffering=0)
        except FileNotFoundError:
            raise _not_found() from None
        with source:
            try:
                path = paths.lay(workspace, source.fileno(), upload.name, go_on)
            except OSError as error:
                tell_if_full(error)
                raise
            return path, contents.read(source.fileno(), upload.size, room_bytes)

    async def sweep(self, now: int) -> int:
        """Removes uploads that have expired at `now` (epoch seconds), and their bytes. Returns how many."""
        expired = await self._store.uploads_expired(now, SWEEP_LIMIT)
        for upload in expired:
            await self._drop(upload)
        return len(expired)

    async def _add(self, app_id: str, arrived: Arrived, name: str, ttl_s: int, note: Note | None) -> UploadRow:
        now = int(self._clock())
        token = "ff_" + base64.urlsafe_b64encode(self._random(TOKEN_BYTES)).decode()
        sha256 = arrived.sha256
        row = UploadRow(token, app_id, names.clean(name), arrived.size, sha256, now, now + ttl_s)
        changes: list[Change] = [AddUpload(row)]
        if note is not None:
            changes.append(note(row))
        async with self._placing:
            try:
                await asyncio.to_thread(self._blobs.place, arrived.unplaced, sha256)
                await self._store.write(*changes)
            except OSError as error:
                tell_if_full(error)
                raise
            except StorageError as error:
                await self._remove_if_unused(sha256)
                if error.full:
                    raise no_room() from error
                raise
        return row

    async def _drop(self, upload: UploadRow) -> None:
        await self._store.write(RemoveUpload(upload.token))
        await self._remove_unused(upload.sha256)

    async def _remove_unused(self, sha256: str) -> None:
        async with self._placing:
            await self._remove_if_unused(sha256)

    async def _remove_if_unused(self, sha256: str) -> None:
        if not await self._store.blob_in_use(sha256):
            await asyncio.to_thread(self._blobs.remove, sha256)


class Receiving:
    """An upload on its way in: `async with` it, `write`, `complete`, `finish`; unfinished it leaves nothing."""

    def __init__(self, uploads: Uploads, app_id: str, incoming: Incoming) -> None:
        self._uploads = uploads
        self._app_id = app_id
        self._incoming = incoming
        self._handed_over = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.abort()

    async def write(self, chunk: bytes) -> None:
        """Takes the next bytes.

        Raises:
            Problem: `too_large`, `storage_full`.
        """
        await self._incoming.write(chunk)

    async def complete(self) -> Arrived:
        """All of it has come, and is on the disk.

        Raises:
            Problem: `storage_full`.
        """
        return Arrived(*await self._incoming.finish())

    async def finish(self, arrived: Arrived, name: str | None, ttl_s: int, note: Note | None = None) -> UploadRow:
        """Stores the upload, durably, under its cleaned name. A caller that stops waiting does not stop it.

        Args:
            arrived: what `complete` gave.
            name: as its sender calls it.
            ttl_s: how long it is kept.
            note: what else is stored with it.

        Raises:
            Problem: `storage_full`.
            StorageError: it could not be stored.
        """
        self._handed_over = True
        return await asyncio.shield(self._uploads._add(self._app_id, arrived, name or "", ttl_s, note))

    async def abort(self) -> None:
        """Lets go of what came in, unless it was finished. May be called again."""
        if not self._handed_over:
            await self._incoming.abort()


def _not_found() -> Problem:
    return Problem("not_found", "file not found")
