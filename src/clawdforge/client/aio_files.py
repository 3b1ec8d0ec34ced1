"""A session's workspace, as an asynchronous app holds it: the twin of `files`."""

from __future__ import annotations

import io
import os
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from clawdforge.client import _local, _workspace
from clawdforge.client._bodies import OnProgress
from clawdforge.client._core import Core
from clawdforge.client._local import FileLike

if TYPE_CHECKING:
    from clawdforge.client._httpx import AsyncWire
    from clawdforge.wire.workspace import FilePut, WorkspaceEntry


class AsyncSessionFiles:
    """As `SessionFiles`. Files of this machine are read and written in the event loop's own thread."""

    def __init__(self, wire: AsyncWire, core: Core, session_id: str) -> None:
        self._wire = wire
        self._core = core
        self._session_id = session_id

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._session_id}>"

    def list(self, path: str = "", *, recursive: bool = False) -> AsyncIterator[WorkspaceEntry]:
        """As `SessionFiles.list`."""
        return self._wire.play(_workspace.entries(self._core, self._session_id, path, recursive=recursive))

    async def get(self, path: str | WorkspaceEntry, on_progress: OnProgress | None = None) -> bytes:
        """As `SessionFiles.get`."""
        sink = io.BytesIO()
        await self._wire.perform(_workspace.fetch(self._core, self._session_id, path, sink, on_progress))
        return sink.getvalue()

    async def download(
        self, path: str | WorkspaceEntry, to: str | os.PathLike[str], on_progress: OnProgress | None = None
    ) -> None:
        """As `SessionFiles.download`."""
        with _local.target(to) as sink:
            await self._wire.perform(_workspace.fetch(self._core, self._session_id, path, sink, on_progress))

    async def put(
        self, path: str | WorkspaceEntry, source: bytes | FileLike, on_progress: OnProgress | None = None
    ) -> FilePut:
        """As `SessionFiles.put`."""
        if isinstance(source, bytes):
            return await self._wire.perform(_workspace.put(self._core, self._session_id, path, source))
        with _local.source(source, on_progress) as (file, _):
            return await self._wire.perform(_workspace.put(self._core, self._session_id, path, file))

    async def delete(self, path: str | WorkspaceEntry, *, recursive: bool = False) -> None:
        """As `SessionFiles.delete`."""
        await self._wire.perform(_workspace.delete(self._core, self._session_id, path, recursive=recursive))
