"""A directory copied with all that is in it, whatever an agent makes of it meanwhile: bounded in entries and size.

Links stay links, and none is followed; pipes, sockets and devices are left out. Blocks that the file system can
share are shared, holes stay holes. Modes and times are kept, all else belongs to the new owner. Blocking.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clawdforge.server.workspaces import beneath, paths

_STEP: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PLACE: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_GONE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
_RIGHTS: Final = 0o777
_PIECE_BYTES: Final = 1024 * 1024
ENTRIES: Final = 500_000
"""A minute or so. Nobody copies more than that without a word."""


class TooMuch(Exception):
    """It is more than may be copied; the message says of what."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is copied at most. `size_bytes` None: no limit but the disk's."""

    size_bytes: int | None
    entries: int = ENTRIES


def copy(
    source: Path,
    target: Path,
    owner: int | None,
    limits: Limits,
    go_on: Callable[[], None],
    leave_out: Collection[str] = (),
) -> None:
    """Copies what is in a directory into an empty one.

    Args:
        source: may be changed meanwhile; one that is not there is empty. A directory that is shut is opened.
        target: is there, and nobody but us can reach it.
        owner: the uid, and gid, of all that is made; None: our own.
        limits: how much is copied at most.
        go_on: called before each piece of work; what it raises ends the copy.
        leave_out: paths, relative to the source, that are left out with all below them.

    Raises:
        TooMuch: there is more, or it lies deeper than a path can name.
        BlockingIOError: a program has a file on a lease.
        OSError: it cannot be read or written. What was copied by then is there.
    """
    try:
        top = beneath.directory(source, rights=0o500)
    except FileNotFoundError:
        return
    try:
        new_top = os.open(target, _STEP)
        try:
            _Copy(top, new_top, owner, limits, go_on, leave_out).run()
        finally:
            os.close(new_top)
    finally:
        os.close(top)


class _Copy:
    """One copy on its way."""

    def __init__(
        self,
        top: int,
        new_top: int,
        owner: int | None,
        limits: Limits,
        go_on: Callable[[], None],
        leave_out: Collection[str],
    ) -> None:
        self._top = top
        self._new_top = new_top
        self._owner = owner
        self._source_owner = os.fstat(top).st_uid
        self._entries_left = limits.entries
        self._bytes_left = limits.size_bytes
        self._go_on = go_on
        self._leave_out = leave_out
        self._directories: list[tuple[str, os.stat_result]] = []

    def run(self) -> None:
        waiting = deque([""])
        while waiting:
            path = waiting.popleft()
            try:
                folder = self._opened(path)
            except OSError as error:
                if error.errno not in _GONE:
                    raise
                continue  # it was there a moment ago
            try:
                new_folder = os.open(path or ".", _STEP, dir_fd=self._new_top)
                try:
                    waiting.extend(self._copy_directory(path, folder, new_folder))
                finally:
                    os.close(new_folder)
            finally:
                os.close(folder)
        for path, info in reversed(self._directories):  # last: what is in them may be written no more
            os.chmod(path, stat.S_IMODE(info.st_mode) & _RIGHTS, dir_fd=self._new_top)
            os.utime(path, ns=_times(info), dir_fd=self._new_top)

    def _opened(self, path: str) -> int:
        if not path:
            return os.dup(self._top)
        place = beneath.entry(self._top, path)
        try:
            return beneath.reopened(place, os.O_RDONLY | os.O_DIRECTORY, 0o500)
        finally:
            os.close(place)

    def _copy_directory(self, path: str, folder: int, new_folder: int) -> list[str]:
        """Copies what lies in a directory. Returns the directories there, which are made and empty."""
        below: list[str] = []
        with os.scandir(folder) as found:
            for each in found:
                self._go_on()
                here = f"{path}/{each.name}" if path else each.name
                if here in self._leave_out:
                    continue
                self._entries_left -= 1
                if self._entries_left < 0:
                    raise TooMuch("files and directories")
                if len(os.fsencode(here)) > paths.PATH_LIMIT_BYTES:
                    raise TooMuch("directories in each other")
                # Removed at this moment, or listed twice because it was renamed.
                with suppress(FileNotFoundError, FileExistsError):
                    info = self._copied(each.name, folder, new_folder)
                    if stat.S_ISDIR(info.st_mode):
                        self._directories.append((here, info))
                        below.append(here)
        return below

    def _copied(self, name: str, folder: int, new_folder: int) -> os.stat_result:
        """Copies one entry, a directory without what is in it. Returns what it is."""
        place = os.open(name, _PLACE, dir_fd=folder)
        try:
            info = os.fstat(place)
            if stat.S_ISDIR(info.st_mode):
                os.mkdir(name, 0o700, dir_fd=new_folder)
            elif stat.S_ISLNK(info.st_mode):
                os.symlink(os.readlink("", dir_fd=place), name, dir_fd=new_folder)
                os.utime(name, ns=_times(info), dir_fd=new_folder, follow_symlinks=False)
            elif not self._is_own_file(info):
                return info
            else:
                self._copy_file(place, info, name, new_folder)
            if self._owner is not None:
                os.chown(name, self._owner, self._owner, dir_fd=new_folder, follow_symlinks=False)
            return info
        finally:
            os.close(place)

    def _is_own_file(self, info: os.stat_result) -> bool:
        """Whether it is a file that the session's agent could read: one with a second name may lie elsewhere."""
        return stat.S_ISREG(info.st_mode) and (info.st_nlink == 1 or info.st_uid == self._source_owner)

    def _copy_file(self, place: int, info: os.stat_result, name: str, new_folder: int) -> None:
        source = beneath.reopened(place, os.O_RDONLY, 0o400)
        try:
            target = os.open(name, _NEW_FILE, 0o600, dir_fd=new_folder)
            try:
                self._copy_content(source, target, info.st_size)
                os.fchmod(target, stat.S_IMODE(info.st_mode) & _RIGHTS)
                os.utime(target, ns=_times(info))
            finally:
                os.close(target)
        finally:
            os.close(source)

    def _copy_content(self, source: int, target: int, size: int) -> None:
        at = 0
        while at < size:
            try:
                at = os.lseek(source, at, os.SEEK_DATA)
                end = min(size, os.lseek(source, at, os.SEEK_HOLE))
            except OSError as error:
                if error.errno == errno.ENXIO:  # the rest is a hole, or gone
                    break
                raise
            while at < end:
                self._go_on()
                done = _copy_range(source, target, at, min(end - at, paths.COPY_BYTES))
                if not done:  # it has become shorter
                    return
                self._count(done)
                at += done
        os.ftruncate(target, size)

    def _count(self, size: int) -> None:
        if self._bytes_left is not None:
            self._bytes_left -= size
            if self._bytes_left < 0:
                raise TooMuch("bytes")


def _copy_range(source: int, target: int, at: int, count: int) -> int:
    try:
        return os.copy_file_range(source, target, count, at, at)
    except OSError as error:
        if error.errno not in paths.NO_COPY_RANGE:
            raise
    return os.pwrite(target, os.pread(source, min(count, _PIECE_BYTES), at), at)


def _times(info: os.stat_result) -> tuple[int, int]:
    return info.st_atime_ns, info.st_mtime_ns
