"""Removes a directory, whatever an agent has made of it: deep, wide, unreadable, full of links and pipes.

Directories are flattened, not descended into: one that is met is moved up to the root and emptied there. So
neither the depth of a tree nor the length of its paths matters, and three open directories are enough. No link
is followed, and nothing outside of the directory is touched.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Final

ENTRY_LIMIT: Final = 5_000_000
"""More than this is not removed in one call: something still writes there."""

_AT_ONCE: Final = 10_000
_PLACE: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def remove(path: Path, entry_limit: int = ENTRY_LIMIT) -> None:
    """Removes a directory with all that is in it; one that is not there is no error, a link in its place goes.

    Raises:
        OSError: something could not be removed, or there were more than `entry_limit` entries. Another call
            goes on where this one stopped.
    """
    with suppress(OSError):
        path.rmdir()  # an empty one goes also where no file is left to open it with
        return
    with suppress(FileNotFoundError):
        parent = os.open(path.parent, _READ)
        try:
            if not stat.S_ISDIR(os.stat(path.name, dir_fd=parent, follow_symlinks=False).st_mode):
                os.unlink(path.name, dir_fd=parent)
                return
            with _opened(parent, path.name) as root:
                _Removal(root, entry_limit).run()
            os.rmdir(path.name, dir_fd=parent)
        finally:
            os.close(parent)


class _Removal:
    """Empties an open directory."""

    def __init__(self, root: int, entry_limit: int) -> None:
        self._root = root
        self._left = entry_limit
        self._names_tried = 0

    def run(self) -> None:
        while entries := self._entries(self._root):
            for name, is_directory in entries:
                if is_directory:
                    with _opened(self._root, name) as directory:
                        self._flatten(directory)
                    os.rmdir(name, dir_fd=self._root)
                else:
                    os.unlink(name, dir_fd=self._root)

    def _flatten(self, directory: int) -> None:
        """Empties a directory of the root: what it holds is removed, the directories in it are moved up."""
        while entries := self._entries(directory):
            for name, is_directory in entries:
                if is_directory:
                    self._move_up(directory, name)
                else:
                    os.unlink(name, dir_fd=directory)

    def _move_up(self, directory: int, name: str) -> None:
        with _opened(directory, name):
            pass  # to be moved it must be writable, for its `..` changes
        os.rename(name, self._free_name(), src_dir_fd=directory, dst_dir_fd=self._root)

    def _free_name(self) -> str:
        while True:
            self._names_tried += 1
            name = f"{self._names_tried:x}.removed"
            try:
                os.stat(name, dir_fd=self._root, follow_symlinks=False)
            except FileNotFoundError:
                return name

    def _entries(self, directory: int) -> list[tuple[str, bool]]:
        """Some of the names in a directory, and whether each is a directory itself (a link to one is not)."""
        with os.scandir(directory) as found:
            entries = [(each.name, each.is_dir(follow_symlinks=False)) for each in islice(found, _AT_ONCE)]
        self._left -= len(entries)
        if self._left < 0:
            raise OSError(errno.ENOTEMPTY, "there is more than can be removed at once")
        return entries


@contextmanager
def _opened(parent: int, name: str) -> Iterator[int]:
    """A directory, open and made readable and writable, whatever its mode was."""
    place = os.open(name, _PLACE, dir_fd=parent)
    try:
        itself = f"/proc/self/fd/{place}"  # what is open, not what its name may lead to by now
        os.chmod(itself, 0o700)  # noqa: PTH101
        directory = os.open(itself, _READ)
    finally:
        os.close(place)
    try:
        yield directory
    finally:
        os.close(directory)
