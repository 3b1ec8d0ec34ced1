"""Bytes on the disk under their SHA-256: streamed in, placed whole or not at all, removed.

Knows neither apps nor names. All work on the disk happens off the event loop.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from clawdforge.server.data_dir import tell_if_full
from clawdforge.wire.problems import Problem

BUFFER_BYTES: Final = 1024 * 1024
"""So much is gathered before a thread writes and hashes it: a thread's turn costs more than a small write."""

_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class Blobs:
    """The directory of blobs: `ab/abcd…`, and `tmp/` for what is still coming in. All of it is private."""

    def __init__(self, directory: Path) -> None:
        """Makes the directory if need be, and removes what earlier lives left in `tmp/`. Blocks.

        Raises:
            OSError: it cannot be made or cleared.
        """
        self._directory = directory
        self._incoming = directory / "tmp"
        for each in (directory, self._incoming):
            each.mkdir(mode=0o700, parents=True, exist_ok=True)
        for leftover in self._incoming.iterdir():
            leftover.unlink()

    def path_of(self, sha256: str) -> Path:
        """Where the bytes of this hash are, or would be."""
        return self._directory / sha256[:2] / sha256

    def receive(self, limit_bytes: int) -> Incoming:
        """Begins a new blob of at most so many bytes."""
        return Incoming(self._incoming, limit_bytes)

    def place(self, unplaced: Path, sha256: str) -> None:
        """Moves a whole file, flushed to the disk, to its place. Blocks.

        Durable after the call; after an error the file is gone.
        """
        place = self.path_of(sha256)
        try:
            place.parent.mkdir(mode=0o700, exist_ok=True)
            unplaced.rename(place)
        finally:
            unplaced.unlink(missing_ok=True)
        for directory in (place.parent, self._directory):
            fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    def remove(self, sha256: str) -> None:
        """Removes the bytes of this hash; none there is no error. Blocks."""
        self.path_of(sha256).unlink(missing_ok=True)

    def hashes(self) -> Iterator[str]:
        """The hashes of all blobs. Blocks."""
        for fan in self._directory.iterdir():
            if len(fan.name) == 2:
                yield from (blob.name for blob in fan.iterdir() if _SHA256.fullmatch(blob.name))


class Incoming:
    """A blob that is coming in. It ends with `finish` or `abort`; one of them must be called.

    Its calls are made one after the other. One that is cancelled leaves its disk work to go on in its thread;
    `abort` waits for that, so that nothing is closed under it.
    """

    def __init__(self, directory: Path, limit_bytes: int) -> None:
        self._directory = directory
        self._limit_bytes = limit_bytes
        self._size = 0
        self._hash = hashlib.sha256()
        self._buffer: list[bytes] = []
        self._buffered_bytes = 0
        self._fd = -1
        self._path = Path()
        self._work: asyncio.Future[None] | None = None

    async def write(self, chunk: bytes) -> None:
        """Takes the next bytes.

        Raises:
            Problem: `too_large`, `storage_full`.
        """
        self._size += len(chunk)
        if self._size > self._limit_bytes:
            limit_bytes = self._limit_bytes
            raise Problem("too_large", f"the file is larger than {limit_bytes} bytes", limit_bytes=limit_bytes)
        self._buffer.append(chunk)
        self._buffered_bytes += len(chunk)
        if self._buffered_bytes >= BUFFER_BYTES:
            await self._off_loop(self._write_out)

    async def finish(self) -> tuple[Path, str, int]:
        """Flushes everything to the disk. Returns the unplaced file, its SHA-256 in hex, and its size.

        Raises:
            Problem: `storage_full`.
        """
        await self._off_loop(self._flush)
        return self._path, self._hash.hexdigest(), self._size

    async def abort(self) -> None:
        """Lets go of everything; a file that was placed stays. May be called at any time, and again."""
        if self._work is not None:
            await asyncio.wait({self._work})
        await asyncio.to_thread(self._discard)

    async def _off_loop(self, work: Callable[[], None]) -> None:
        self._work = asyncio.ensure_future(asyncio.to_thread(work))
        try:
            await asyncio.shield(self._work)
        except OSError as error:
            tell_if_full(error)
            raise

    # --- in a thread, one at a time --------------------------------------------------------------------------

    def _write_out(self) -> None:
        data = b"".join(self._buffer)
        self._buffer.clear()
        self._buffered_bytes = 0
        if self._fd < 0:
            self._fd, name = tempfile.mkstemp(dir=self._directory)
            self._path = Path(name)
        self._hash.update(data)
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]

    def _flush(self) -> None:
        self._write_out()
        os.fsync(self._fd)
        self._close()

    def _discard(self) -> None:
        self._buffer.clear()
        if self._fd >= 0:
            self._close()
        if self._path != Path():
            with suppress(FileNotFoundError):  # placed, or discarded before
                self._path.unlink()

    def _close(self) -> None:
        os.close(self._fd)
        self._fd = -1
