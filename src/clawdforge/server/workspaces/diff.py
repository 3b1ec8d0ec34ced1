"""A turn's changes as an app reads them: each file once, with a patch where there can be one, bounded as a whole.

Blocking: up to `TIME_S`, and what one file more takes.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote_from_bytes

from clawdforge.server.workspaces import patches
from clawdforge.server.workspaces.patches import Side
from clawdforge.server.workspaces.records import Change
from clawdforge.server.workspaces.snapshots import Changes
from clawdforge.server.workspaces.survey import Entry
from clawdforge.wire.diffs import FileChange, FileDiff

FILES: Final = 1000
PATCH_CHARACTERS: Final = 4 * 1024 * 1024
TIME_S: Final = 2.0
"""After so long lines are not told apart any more: what changed is replaced as a whole."""


def files(changes: Changes) -> tuple[list[FileDiff], bool]:
    """The files that changed, by their paths; and whether there may be more of them."""
    rows = _rows(changes.files)
    answer = _Answer(changes)
    return [answer.file(row) for row in rows[:FILES]], changes.truncated or len(rows) > FILES


@dataclass(frozen=True, slots=True)
class _Row:
    """A file that changed; `source` is where it was before, another path where it was renamed."""

    source: str
    path: str
    old: Entry | None
    new: Entry | None


def _rows(changed: Sequence[Change]) -> list[_Row]:
    """By their paths. A file that was added is renamed where one that is the same, byte by byte, was removed."""
    gone: defaultdict[tuple[str, int], list[Change]] = defaultdict(list)
    rows: dict[str, _Row] = {}
    for each in sorted(changed, key=lambda change: change.path):
        rows[each.path] = _Row(each.path, each.path, each.old, each.new)
        if each.new is None and each.old is not None and (key := _identity(each.old)) is not None:
            gone[key].append(each)
    for path, row in rows.copy().items():
        if row.old is None and row.new is not None and (key := _identity(row.new)) is not None and gone[key]:
            source = gone[key].pop(0)
            rows[path] = _Row(source.path, path, source.old, row.new)
            del rows[source.path]
    return list(rows.values())


def _identity(entry: Entry) -> tuple[str, int] | None:
    """What makes two files one: their bytes, where there are any, and whether they are links."""
    return (entry.sha256, entry.kind) if entry.sha256 is not None and entry.size else None


class _Answer:
    """One answer, as it grows to its bounds."""

    def __init__(self, changes: Changes) -> None:
        self._text = changes.text
        self._room = PATCH_CHARACTERS
        self._until = time.monotonic() + TIME_S

    def file(self, row: _Row) -> FileDiff:
        binary = any(side is not None and side.content == "binary" for side in (row.old, row.new))
        patch = self._patch(row)
        return FileDiff(
            path=_told(row.path),
            change=_change(row),
            old_mode=_mode(row.old),
            new_mode=_mode(row.new),
            old_size=None if row.old is None else row.old.size,
            new_size=None if row.new is None else row.new.size,
            binary=binary,
            too_large=patch is None and not binary,
            patch=patch,
            old_path=_told(row.source) if row.source != row.path else None,
            encoded_path=None if _told(row.path) == row.path else quote_from_bytes(os.fsencode(row.path)),
        )

    def _patch(self, row: _Row) -> str | None:
        sides = self._sides(row)
        if sides is None or sum(len(side.text) for side in sides if side is not None) > self._room:
            return None
        limit = patches.EDIT_LIMIT if time.monotonic() < self._until else 0
        text = patches.patch(row.source, row.path, *sides, edit_limit=limit)
        if len(text) > self._room:
            return None
        self._room -= len(text)
        return text

    def _sides(self, row: _Row) -> tuple[Side | None, Side | None] | None:
        """The file before and after; None where a text is missing."""
        old, new = row.old, row.new
        if old is not None and new is not None and old.kind == new.kind and not old.other_content(new):
            # Whatever is in it, it does not matter.
            return Side(f"{old.mode:o}", ""), Side(f"{new.mode:o}", "")
        before, after = self._side(old), self._side(new)
        if (before is None and old is not None) or (after is None and new is not None):
            return None
        return before, after

    def _side(self, entry: Entry | None) -> Side | None:
        if entry is None or entry.content != "kept" or entry.sha256 is None:
            return None
        text = self._text(entry.sha256)
        return None if text is None else Side(f"{entry.mode:o}", text)


def _change(row: _Row) -> FileChange:
    if row.old is None:
        return "added"
    if row.new is None:
        return "deleted"
    if row.source != row.path:
        return "renamed"
    return "modified" if row.old.other_content(row.new) or row.old.kind != row.new.kind else "mode"


def _mode(entry: Entry | None) -> str | None:
    return None if entry is None else f"{entry.mode:o}"


def _told(path: str) -> str:
    """A path as JSON can hold it."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
