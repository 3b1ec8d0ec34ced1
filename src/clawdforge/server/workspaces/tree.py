"""What lies in a workspace, page by page, in order, however much it is and whatever its agent does meanwhile.

A page is as much work as the directories are wide in which it lies, and as much memory as it is long. No link is
followed. Blocking; must not know who asks.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from pathlib import Path
from typing import Final

from clawdforge.server.workspaces import beneath, paths
from clawdforge.server.workspaces.entries import Kind, kind_of
from clawdforge.wire.problems import Problem, invalid

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY
_GONE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})
PAGE_CHARACTERS: Final = 1024 * 1024
"""Of its paths: thousands of long ones would be a hundred megabytes on their way to one caller."""

_UNSEEN: Final = _GONE | {errno.EACCES, errno.EPERM}
"""Also what belongs to somebody else, who has shut it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Something in a workspace. `path` is relative to it, as `os` has it; `modified_at` epoch seconds."""

    path: str
    kind: Kind
    size: int
    modified_at: int


@dataclass(frozen=True, slots=True)
class Page:
    """Some entries in order, and whether others come after the last of them."""

    entries: Sequence[Entry]
    more: bool


def listed(workspace: Path, path: str, after: str | None, limit: int, *, recursive: bool) -> Page:
    """What a directory of a workspace holds: a directory before what is in it, names by their code points.

    What comes or goes between two pages may be missed; what stays is in exactly one of them.

    Args:
        workspace: which one.
        path: of the directory, relative to the workspace; "" is the workspace itself.
        after: the path of the last entry of the page before; it need not be there any more.
        limit: how many entries a page has at most; fewer where their paths are long.
        recursive: also what lies deeper, as far as a path can name it.

    Raises:
        Problem: `not_found`, or `invalid` for what is no directory.
    """
    root = _directory(workspace, path)
    try:
        return _Listing(root, f"{path}/" if path else "", limit, recursive).run(after)
    finally:
        os.close(root)


class _Listing:
    """One page on its way. What is still to be looked at stands last first, never more than the page can take."""

    def __init__(self, root: int, prefix: str, limit: int, recursive: bool) -> None:
        self._root = root
        self._prefix = prefix
        self._left = limit
        self._recursive = recursive
        self._waiting: list[tuple[str, str]] = []  # of each the directory, and its name there
        self._dropped = False

    def run(self, after: str | None) -> Page:
        entries = []
        with _Opened(self._root) as opened:
            self._begin(opened, after)
            room = PAGE_CHARACTERS
            while self._waiting and self._left and room > 0:
                folder, name = self._waiting.pop()
                entry = self._entry(opened, folder, name)
                if entry is not None:
                    entries.append(entry)
                    self._left -= 1
                    room -= len(entry.path)
                    if self._recursive and entry.kind == "directory":
                        self._expect(opened, _below(folder, name), None)
        return Page(entries, bool(self._waiting) or self._dropped)

    def _begin(self, opened: _Opened, after: str | None) -> None:
        if after is None:
            self._expect(opened, "", None)
            return
        steps = after.removeprefix(self._prefix).split("/")
        for depth, step in enumerate(steps if self._recursive else steps[:1]):
            self._expect(opened, "/".join(steps[:depth]), step)
        if self._recursive:
            self._expect(opened, "/".join(steps), None)

    def _expect(self, opened: _Opened, folder: str, after: str | None) -> None:
        """Has what a directory holds looked at next; of all that waits only as much as the page can take."""
        fd = opened.directory(folder)
        if fd is None:
            return
        found = nsmallest(self._left + 1, _names(fd, after))
        self._waiting += [(folder, name) for name in reversed(found)]
        if len(self._waiting) > self._left:
            del self._waiting[: len(self._waiting) - self._left]
            self._dropped = True

    def _entry(self, opened: _Opened, folder: str, name: str) -> Entry | None:
        fd = opened.directory(folder)
        path = self._prefix + _below(folder, name)
        if fd is None or len(os.fsencode(path)) > paths.PATH_LIMIT_BYTES:
            return None
        try:
            info = os.stat(name, dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError:
            return None
        return Entry(path, kind_of(info), info.st_size, int(info.st_mtime))


class _Opened:
    """The directory that was asked for last, open: what is listed one after the other mostly lies in one."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._path = ""
        self._fd: int | None = None

    def __enter__(self) -> _Opened:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def directory(self, path: str) -> int | None:
        """A directory, open for as long as no other is asked for; None where there is none to be opened."""
        if not path:
            return self._root
        if path != self._path:
            self._close()
            self._path = path
            try:
                self._fd = _opened_below(self._root, path)
            except OSError as error:
                if error.errno not in _UNSEEN:
                    raise
        return self._fd

    def _close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _names(directory: int, after: str | None) -> Iterator[str]:
    with os.scandir(directory) as found:
        for each in found:
            if after is None or each.name > after:
                yield each.name


def _below(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _directory(workspace: Path, path: str) -> int:
    try:
        root = beneath.directory(workspace, rights=0o500)
        if not path:
            return root
        try:
            place = beneath.entry(root, path)
        finally:
            os.close(root)
    except OSError as error:
        if error.errno not in _GONE:
            raise
        raise Problem("not_found", "directory not found") from error
    try:
        return beneath.reopened(place, _DIRECTORY, 0o500)
    except NotADirectoryError:
        raise invalid("this is no directory", "path") from None
    finally:
        os.close(place)


def _opened_below(root: int, path: str) -> int:
    place = beneath.entry(root, path)
    try:
        return beneath.reopened(place, _DIRECTORY, 0o500)
    finally:
        os.close(place)
