"""How much of a disk directories take, whatever an agent has made of them: deep, wide, unreadable, full of links.

No link is followed, and nothing is changed but the mode of a directory that cannot be read or passed. Blocking:
7 µs a file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

from clawdforge.server.workspaces import beneath

LEAST_BYTES: Final = 4096
"""What each entry counts at least: names and inodes are room as well."""

_BLOCK_BYTES: Final = 512  # of st_blocks, whatever the file system's own are. Source: stat(2)
_PATH_BYTES: Final = 3_000
_HELD_LIMIT: Final = 64
_READ_AND_PASS: Final = 0o500


class TooDeep(Exception):
    """Directories lie so deep in each other that nobody can say what they hold."""


def size_bytes(*directories: Path) -> int:
    """What these directories and all below them take, a file with several names once. One not there takes nothing.

    Raises:
        TooDeep: what lies deeper than any path can name is more than a few directories.
        OSError: it cannot be seen at all.
    """
    seen: set[tuple[int, int]] = set()
    return sum(_below(os.fspath(each), seen) for each in directories)


def _below(top: str, seen: set[tuple[int, int]]) -> int:
    total = 0
    with ExitStack() as held:
        # What is still to be looked at: from which open directory, by which path.
        waiting: list[tuple[int | None, str]] = [(None, top)]
        anchors = 0
        while waiting:
            anchor, path = waiting.pop()
            try:
                directory = beneath.directory(path, anchor, _READ_AND_PASS)
            except (FileNotFoundError, NotADirectoryError, PermissionError):
                continue
            keep = len(path) > _PATH_BYTES
            try:
                for entry, info in _entries(directory):
                    if info.st_nlink > 1 and not entry.is_dir(follow_symlinks=False):
                        if (info.st_dev, info.st_ino) in seen:
                            continue
                        seen.add((info.st_dev, info.st_ino))
                    total += max(info.st_blocks * _BLOCK_BYTES, LEAST_BYTES)
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append((directory, entry.name) if keep else (anchor, f"{path}/{entry.name}"))
            finally:
                if keep:
                    held.callback(os.close, directory)
                    anchors += 1
                else:
                    os.close(directory)
            if anchors > _HELD_LIMIT:
                raise TooDeep
    return total


def _entries(directory: int) -> Iterator[tuple[os.DirEntry[str], os.stat_result]]:
    with os.scandir(directory) as entries:
        for entry in entries:
            with suppress(FileNotFoundError, PermissionError):  # gone, or shut again meanwhile
                yield entry, entry.stat(follow_symlinks=False)
