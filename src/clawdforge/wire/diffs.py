"""What a turn changed in the workspace: files, and a patch for each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

FileChange = Literal["added", "modified", "deleted", "renamed", "mode"]


@dataclass(frozen=True, slots=True)
class FileDiff:
    """One file that changed. Sizes are bytes, modes as git writes them; null where there is no file.

    `path` is relative to the workspace, in UTF-8: what of a name is none is U+FFFD here, and `encoded_path` is the
    path as it stands in a URL. `old_path` is where a renamed file was before. `patch` is what `git apply` and
    `patch -p1` take, null for files that are no text (`binary`), and for those whose text was not kept, or would
    be too much of an answer (`too_large`).
    """

    path: str
    change: FileChange
    old_mode: str | None
    new_mode: str | None
    old_size: int | None
    new_size: int | None
    binary: bool
    too_large: bool
    patch: str | None
    old_path: str | None = field(default=None, metadata={"omit_none": True})
    encoded_path: str | None = field(default=None, metadata={"omit_none": True})


@dataclass(frozen=True, slots=True)
class TurnDiff:
    """Answer of `GET /sessions/{id}/diff`, files by their paths.

    With `running` the turn goes on, and this is what it changed so far. With `late` the gateway did not live to
    see the turn's end: these are the changes up to where it looked again. With `truncated` there may be more.
    """

    ok: bool
    session_id: str
    turn_index: int
    running: bool
    late: bool
    truncated: bool
    files: list[FileDiff]
