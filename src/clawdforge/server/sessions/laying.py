"""A turn's files on their way into the workspace: all of them or none, and no longer than somebody waits for them.

Must not know what becomes of the turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from clawdforge.server.agents.base import Attachment
from clawdforge.server.files.uploads import Uploads
from clawdforge.server.store.stored import UploadRow
from clawdforge.server.workspaces import paths

SHOWN_LIMIT_BYTES: Final = 12 * 1024 * 1024
"""So much of a message may be prompt and shown files together, where files are shown at all. An agent that is slow
to read still hears a cancel behind it: beyond 16 MiB it would pass for one that does not read."""


class Laying:
    """Lays uploads into a workspace, once."""

    def __init__(self, uploads: Uploads, rows: Sequence[UploadRow], workspace: Path, prompt: str) -> None:
        self._uploads = uploads
        self._rows = rows
        self._workspace = workspace
        self._prompt = prompt
        self._laid: list[Attachment] = []
        self._unwanted = False

    async def run(self) -> list[Attachment]:
        """Lays them all. When this raises, or is cancelled, none of them is there.

        Raises:
            Problem: `not_found` where one is gone since it was looked up, `storage_full`.
            OSError: the workspace cannot be written.
        """
        async with self._uploads.laying:
            work = asyncio.ensure_future(asyncio.to_thread(self._lay_all))
            try:
                return await asyncio.shield(work)
            except asyncio.CancelledError:
                self._unwanted = True
                await asyncio.wait({work})  # a thread cannot be cut off: it looks before every piece
                if work.exception() is None:
                    await asyncio.to_thread(take_back, self._laid)
                raise

    # --- in a thread ---------------------------------------------------------------------------------------

    def _lay_all(self) -> list[Attachment]:
        room_bytes = SHOWN_LIMIT_BYTES - len(self._prompt.encode())
        try:
            for row in self._rows:
                path, contents = self._uploads.lay(row, self._workspace, room_bytes, self._go_on)
                room_bytes -= 0 if contents is None else contents.sent_bytes
                self._laid.append(Attachment(path, row.size, contents))
        except BaseException:
            take_back(self._laid)
            raise
        return self._laid

    def _go_on(self) -> None:
        if self._unwanted:
            raise _Unwanted


def take_back(laid: Iterable[Attachment]) -> None:
    """Removes files that were laid. Blocks."""
    for each in laid:
        paths.take_back(each.path)


class _Unwanted(Exception):
    """Nobody waits for the files any more."""
