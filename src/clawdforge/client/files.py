"""A session's workspace, as an app holds it: its files, there and back."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from clawdforge.client import _local, _workspace
from clawdforge.client._bodies import OnProgress
from clawdforge.client._core import Core
from clawdforge.client._local import FileLike
from clawdforge.client._requests import Wire

if TYPE_CHECKING:
    from clawdforge.wire.workspace import FilePut, WorkspaceEntry


class SessionFiles:
    """The files in a session's workspace: `session.files`.

    A path is relative to the workspace, its steps separated by `/`; an entry of `list` stands for its path, also
    where its name is no text. All of it can be called while a turn runs, and of a closed session read.
    """

    def __init__(self, wire: Wire, core: Core, session_id: str) -> None:
        self._wire = wire
        self._core = core
        self._session_id = session_id

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._session_id}>"

    def list(self, path: str = "", *, recursive: bool = False) -> Iterator[WorkspaceEntry]:
        """What lies in a directory, in the order of paths, fetched page by page as it is read.

        Args:
            path: the directory; the workspace itself where empty.
            recursive: also all that lies below it.

        Raises:
            ForgeNotFoundError: there is no such directory.
        """
        return self._wire.play(_workspace.entries(self._core, self._session_id, path, recursive=recursive))

    def get(self, path: str | WorkspaceEntry, on_progress: OnProgress | None = None) -> bytes:
        """The bytes of a file.

        Args:
            path: which one.
            on_progress: told the bytes that are here, and of how many (None: nobody knows).

        Raises:
            ForgeNotFoundError: there is no such file.
            ForgeInvalidError: it is no file.
        """
        sink = io.BytesIO()
        self._wire.perform(_workspace.fetch(self._core, self._session_id, path, sink, on_progress))
        return sink.getvalue()

    def download(
        self, path: str | WorkspaceEntry, to: str | os.PathLike[str], on_progress: OnProgress | None = None
    ) -> None:
        """Fetches a file into one of this machine's; that one is there whole or not at all.

        Args:
            path: which one.
            to: the path that it takes; what was there is replaced.
            on_progress: as `get` has it.

        Raises:
            OSError: `to` cannot be written.
            ForgeNotFoundError: there is no such file in the workspace.
        """
        with _local.target(to) as sink:
            self._wire.perform(_workspace.fetch(self._core, self._session_id, path, sink, on_progress))

    def put(
        self, path: str | WorkspaceEntry, source: bytes | FileLike, on_progress: OnProgress | None = None
    ) -> FilePut:
        """Puts a file into the workspace, in place of what had its name; it is there whole or not at all.

        Args:
            path: where to; directories above it are made.
            source: the bytes themselves, the path of a file, or a binary file, which is read from where it stands.
            on_progress: told how much of a file is sent, in bytes, and of how many (None: nobody knows).

        Raises:
            OSError, TypeError: the source cannot be read.
            ForgeClosedError: the session is closed.
        """
        if isinstance(source, bytes):
            return self._wire.perform(_workspace.put(self._core, self._session_id, path, source))
        with _local.source(source, on_progress) as (file, _):
            return self._wire.perform(_workspace.put(self._core, self._session_id, path, file))

    def delete(self, path: str | WorkspaceEntry, *, recursive: bool = False) -> None:
        """Removes a file, a link or an empty directory; with `recursive` a directory with all that it holds.

        Raises:
            ForgeNotFoundError: there is none.
            ForgeInvalidError: the directory is not empty.
        """
        self._wire.perform(_workspace.delete(self._core, self._session_id, path, recursive=recursive))
