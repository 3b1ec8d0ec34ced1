"""What lies in a workspace at one moment: its files by their content, told apart from how they lay there before.

A file whose stat is the same as at the last look is not read again. Bounded in entries, bytes and time: what was
not looked at is told as not looked at. No link is followed, nothing is changed, and what is neither a file nor a
link is passed over. So is what is called `.git`, wherever it lies: a repository is its owner's. Blocking.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from clawdforge.server.workspaces import beneath

LEFT_OUT: Final = ".git"

_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_STEP: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_GONE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
_LINK_MODE: Final = 0o120000
_TICK_NS: Final = 50_000_000
"""The clock of a file's stat stands still for a few milliseconds: what changed this shortly before a look may have
changed once more after it, unseen."""

Keep = Callable[[str, bytes], bool]
"""Keeps a text, by its SHA-256; False where there is no room for it."""

Content = Literal["kept", "unkept", "binary", "unread"]
"""`kept` and `unkept` are texts (UTF-8 without NUL), `binary` is none; `unread` is too large, or time was up."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a workspace is looked at, and how long files are read. Larger ones count by size and time."""

    entries: int = 20_000
    names_characters: int = 4 * 1024 * 1024  # of their paths: what is known of a workspace is held in memory
    depth: int = 64
    file_bytes: int = 512 * 1024
    time_s: float = 3.0


USUAL: Final = Limits()


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, or a link: its content is where it leads.

    Attributes:
        mode: as git writes it: 0o100644, 0o100755, 0o120000.
        size: in bytes.
        stamp: mtime and ctime in nanoseconds, and the inode.
        content: what is known of its bytes.
        sha256: of them, None where they are `unread`.
        sure: whether the same stamp means that nothing has changed since.
    """

    mode: int
    size: int
    stamp: tuple[int, int, int]
    content: Content
    sha256: str | None
    sure: bool

    @property
    def kind(self) -> int:
        """Whether it is a file or a link."""
        return stat.S_IFMT(self.mode)

    def differs(self, other: Entry) -> bool:
        """Whether these are two files to anybody who reads them."""
        return self.mode != other.mode or self.other_content(other)

    def other_content(self, other: Entry) -> bool:
        """Whether the bytes differ; where one was not read, whether size or mtime do."""
        if self.sha256 is None or other.sha256 is None:
            return (self.size, self.stamp[0]) != (other.size, other.stamp[0])
        return self.sha256 != other.sha256


@dataclass(frozen=True, slots=True)
class Manifest:
    """All that was found, by its path in the workspace (bytes that are no UTF-8 as half surrogates).

    `unseen` are directories ("" is the workspace) that were not looked at, or not to their end: nothing that lies
    below them is among the entries.
    """

    entries: Mapping[str, Entry] = field(default_factory=dict)
    unseen: frozenset[str] = frozenset()

    def saw(self, path: str) -> bool:
        """Whether a file would be among the entries if it were there."""
        if not self.unseen:
            return True
        while path:
            path = path.rpartition("/")[0]
            if path in self.unseen:
                return False
        return True


def look(root: Path, before: Manifest, keep: Keep, limits: Limits = USUAL) -> Manifest:
    """What lies in a workspace now; one that is gone is empty.

    Args:
        root: the workspace.
        before: what the look before has found.
        keep: told the texts that were not there then.
        limits: how much is looked at.

    Raises:
        OSError: it cannot be looked into at all.
    """
    try:
        top = beneath.directory(root, rights=0)
    except FileNotFoundError:
        return Manifest()
    try:
        return _Look(top, before, keep, limits).run()
    finally:
        os.close(top)


class _Look:
    """One look, directory after directory, those that lie nearer to the top first."""

    def __init__(self, top: int, before: Manifest, keep: Keep, limits: Limits) -> None:
        self._top = top
        self._owner = os.fstat(top).st_uid
        self._before = before.entries
        self._keep = keep
        self._limits = limits
        self._left = limits.entries
        self._names_left = limits.names_characters
        self._until = time.monotonic() + limits.time_s
        self._entries: dict[str, Entry] = {}
        self._unseen: set[str] = set()

    def run(self) -> Manifest:
        waiting = deque([("", 0)])
        while waiting:
            path, depth = waiting.popleft()
            try:
                below = self._list(path) if depth <= self._limits.depth and self._has_room() else None
            except OSError as error:
                below = [] if error.errno in _GONE and path else None
            if below is None:
                self._unseen.add(path)
            else:
                waiting.extend((each, depth + 1) for each in below)
        return Manifest(self._entries, frozenset(self._unseen))

    def _has_room(self) -> bool:
        return min(self._left, self._names_left) > 0

    def _list(self, path: str) -> list[str] | None:
        """Looks at all that lies in a directory. Returns the directories there; None where it was too much."""
        directory = self._opened(path)
        try:
            found: dict[str, Entry] = {}
            below: list[str] = []
            start = f"{path}/" if path else ""
            with os.scandir(directory) as listed:
                for each in listed:
                    self._left -= 1
                    self._names_left -= len(start) + len(each.name)
                    if min(self._left, self._names_left) < 0:
                        return None
                    if each.name == LEFT_OUT:
                        continue
                    with suppress(FileNotFoundError):
                        info = each.stat(follow_symlinks=False)
                        if stat.S_ISDIR(info.st_mode):
                            below.append(start + each.name)
                        elif (entry := self._entry(directory, each.name, start + each.name, info)) is not None:
                            found[start + each.name] = entry
        finally:
            os.close(directory)
        self._entries.update(found)
        return below

    def _opened(self, path: str) -> int:
        """A directory below the top, step by step: what was one may be a link by now."""
        directory = os.open(".", _STEP, dir_fd=self._top)
        for name in path.split("/") if path else ():
            above = directory
            try:
                directory = os.open(name, _STEP, dir_fd=above)
            finally:
                os.close(above)
        return directory

    def _entry(self, directory: int, name: str, path: str, info: os.stat_result) -> Entry | None:
        before = self._before.get(path)
        if before is not None and before.sure and before.stamp == stamp_of(info):
            return before
        if stat.S_ISLNK(info.st_mode):
            return self._made(info, os.fsencode(os.readlink(name, dir_fd=directory)))
        if not stat.S_ISREG(info.st_mode):
            return None
        if info.st_size > self._limits.file_bytes or self._may_be_foreign(info):
            return _unread(info)
        if time.monotonic() > self._until:
            return _unread(info, sure=False)  # at the next look, then
        try:
            return self._read(os.open(name, _FILE, dir_fd=directory), info)
        except PermissionError:
            return _unread(info)
        except BlockingIOError:  # a program has it on a lease
            return _unread(info, sure=False)
        except OSError as error:
            if error.errno in _GONE:
                return None
            raise

    def _may_be_foreign(self, info: os.stat_result) -> bool:
        """Whether it may be a file that the agent could not read: one with a second name may lie elsewhere."""
        return info.st_nlink > 1 and info.st_uid != self._owner

    def _read(self, file: int, info: os.stat_result) -> Entry | None:
        with os.fdopen(file, "rb", buffering=0) as opened:
            now = os.fstat(file)
            if not stat.S_ISREG(now.st_mode):
                return None
            if self._may_be_foreign(now):  # it took the place of the other one meanwhile
                return _unread(now, sure=False)
            content = opened.read(self._limits.file_bytes + 1) or b""
            after = os.fstat(file)
        whole = len(content) == after.st_size and stamp_of(now) == stamp_of(after) == stamp_of(info)
        if len(content) > self._limits.file_bytes:
            return _unread(after)
        return self._made(after, content, whole=whole)

    def _made(self, info: os.stat_result, content: bytes, *, whole: bool = True) -> Entry:
        sha256 = hashlib.sha256(content).hexdigest()
        what: Content = "binary"
        if _is_text(content):
            what = "kept" if self._keep(sha256, content) else "unkept"
        sure = whole and time.time_ns() - info.st_ctime_ns > _TICK_NS
        return Entry(_mode(info), len(content), stamp_of(info), what, sha256, sure)


def _unread(info: os.stat_result, *, sure: bool = True) -> Entry:
    return Entry(_mode(info), info.st_size, stamp_of(info), "unread", None, sure)


def stamp_of(info: os.stat_result) -> tuple[int, int, int]:
    """What tells that a file has changed (see `Entry.stamp`)."""
    return info.st_mtime_ns, info.st_ctime_ns, info.st_ino


def _mode(info: os.stat_result) -> int:
    if stat.S_ISLNK(info.st_mode):
        return _LINK_MODE
    return 0o100755 if info.st_mode & stat.S_IXUSR else 0o100644


def _is_text(content: bytes) -> bool:
    if b"\0" in content:
        return False
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True
