"""The files of a session's workspace. Sizes are bytes, times epoch seconds, paths relative to the workspace."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

EntryType = Literal["file", "directory", "symlink", "other"]


@dataclass(frozen=True, slots=True)
class WorkspaceEntry:
    """Something in a workspace; a link is itself, not what it leads to.

    Attributes:
        path: in UTF-8. What of a name is none is U+FFFD here.
        type: `other` is a pipe, a socket or a device.
        size: of a file, else null.
        modified_at: when it was changed last.
        encoded_path: the path as it stands in a URL; only where `path` cannot say it.
    """

    path: str
    type: EntryType
    size: int | None
    modified_at: int
    encoded_path: str | None = field(default=None, metadata={"omit_none": True})


@dataclass(frozen=True, slots=True)
class WorkspacePage:
    """Answer of `GET /sessions/{id}/files`, in the order of paths; `next_cursor` is null at the end."""

    ok: bool
    files: list[WorkspaceEntry]
    count: int
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class FilePut:
    """Answer of `PUT /sessions/{id}/files/{path}`: the file is in place, whole, and on the disk.

    `created` is false where something of this name was replaced; `etag` is the file's version.
    """

    ok: bool
    path: str
    size: int
    sha256: str
    created: bool
    etag: str


@dataclass(frozen=True, slots=True)
class FileRemoved:
    """Answer of `DELETE /sessions/{id}/files/{path}`: nothing of this name is there any more."""

    ok: bool
    path: str
