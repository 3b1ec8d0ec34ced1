"""One entry of a workspace, as an app asks for it: a file to be read, to be put in place, anything to be removed.

Whatever the agent makes of its workspace meanwhile, nothing outside of it is read or changed: see `beneath`.
Calls that depend on a condition are made one after the other by who makes them: what the agent does between a look
and what follows from it is seen only where a file must be new. Must not know who asks, nor how. Blocking.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from clawdforge.server.data_dir import tell_if_full
from clawdforge.server.workspaces import beneath, paths
from clawdforge.wire.problems import Problem, invalid

Kind = Literal["file", "directory", "symlink", "other"]

_KINDS: Final[dict[int, Kind]] = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink"}
_GONE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})
_IN_THE_WAY: Final = frozenset({errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EISDIR, errno.EEXIST})
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_REMOVALS: Final = 10
HELD: Final = "a program in the workspace holds a file for itself: try again"


@dataclass(frozen=True, slots=True)
class OpenFile:
    """A regular file, open to be read. Whoever has it closes `fd`.

    Attributes:
        size: in bytes, when it was opened.
        version: another one as soon as what it holds is changed.
        modified_at: epoch seconds.
    """

    fd: int
    size: int
    version: str
    modified_at: int


@dataclass(frozen=True, slots=True)
class Condition:
    """Which versions an entry must have, or must not have, for something to be done. None: any; `*`: every one."""

    match: tuple[str, ...] | None = None
    none_match: tuple[str, ...] | None = None

    def matched(self, version: str | None) -> bool:
        """Whether it has one that it must have. None: there is no entry."""
        return self.match is None or _in(version, self.match)

    def excluded(self, version: str | None) -> bool:
        """Whether it has one that it must not have."""
        return self.none_match is not None and _in(version, self.none_match)

    def check(self, version: str | None) -> None:
        """Raises Problem `precondition_failed` where it does not hold."""
        if not self.matched(version) or self.excluded(version):
            raise Problem("precondition_failed", "what is there now is not as the request wants it")


@dataclass(frozen=True, slots=True)
class Placed:
    """A file that was put in place: how large it is, whether nothing was there before, and its version."""

    size: int
    created: bool
    version: str


def kind_of(info: os.stat_result) -> Kind:
    """What an entry is; a link is itself."""
    return _KINDS.get(stat.S_IFMT(info.st_mode), "other")


def version_of(info: os.stat_result) -> str:
    """Of an entry. The time that counts is the one that nobody can set."""
    return f"{info.st_ino:x}-{info.st_size:x}-{info.st_ctime_ns:x}"


def open_file(workspace: Path, path: str) -> OpenFile:
    """Opens a regular file. Nothing else is ever opened: neither a pipe nor a device hears of it.

    Raises:
        Problem: `not_found`, `invalid` for what is no file, or may be somebody else's, `overloaded` where a
            program has it on a lease.
    """
    with _root(workspace) as root, _told(path):
        place = beneath.entry(root, path)
        try:
            info = os.fstat(place)
            check_readable(info, os.fstat(root).st_uid)
            fd = beneath.reopened(place, os.O_RDONLY, stat.S_IRUSR)
        finally:
            os.close(place)
    info = os.fstat(fd)
    return OpenFile(fd, info.st_size, version_of(info), int(info.st_mtime))


def place(workspace: Path, path: str, unplaced: Path, condition: Condition) -> Placed:
    """Puts a file in place, whole or not at all, with the directories above it; what had its name is replaced.

    It belongs to whom the workspace belongs, and its mode is 0644, or that of the file that it replaces. A link
    is replaced, not followed.

    Args:
        workspace: where to.
        path: relative to it.
        unplaced: the file, written and on the disk; gone after the call, but not after an error.
        condition: what must hold of what is there now.

    Raises:
        Problem: `invalid` where a directory has its name, or something else the name of one above it; `not_found`
            where the workspace is no more; `precondition_failed`, `storage_full`.
    """
    *above, last = path.split("/")
    with _root(workspace) as root, _told(path, writing=True):
        owner = os.fstat(root).st_uid
        with beneath.made(root, above, owner) as folder, _at_hand(unplaced, folder) as (fd, name, where):
            before = _look(folder, last)
            condition.check(None if before is None else version_of(before))
            if before is not None and stat.S_ISDIR(before.st_mode):
                raise invalid("there is a directory of this name", "path")
            if os.fstat(fd).st_uid != owner:
                os.fchown(fd, owner, owner)
            os.fchmod(fd, _mode_after(before))
            _move(name, where, last, folder, only_new="*" in (condition.none_match or ()))
            info = os.fstat(fd)
    return Placed(info.st_size, before is None, version_of(info))


def remove(workspace: Path, path: str, condition: Condition, *, recursive: bool) -> None:
    """Removes an entry; a link itself, and a directory with all that it holds where `recursive` says so.

    Raises:
        Problem: `not_found`, `precondition_failed`, `invalid` for a directory that holds something, `overloaded`
            where the agent fills it as fast as it is emptied.
    """
    *above, last = path.split("/")
    with _root(workspace) as root, _told(path), beneath.way(root, above) as folder:
        info = os.stat(last, dir_fd=folder, follow_symlinks=False)
        condition.check(version_of(info))
        if not stat.S_ISDIR(info.st_mode):
            os.unlink(last, dir_fd=folder)
            return
        with suppress(OSError):
            os.rmdir(last, dir_fd=folder)
            return
        if not recursive:
            raise invalid("the directory is not empty: recursive=true removes it with all that it holds", "path")
        for _ in range(_REMOVALS):
            with suppress(OSError):  # something was changed meanwhile
                beneath.remove_in(folder, last)
            if _look(folder, last) is None:
                return
    raise Problem("overloaded", "the directory is being changed; some of it is gone", retry_after_s=1)


def _in(version: str | None, versions: tuple[str, ...]) -> bool:
    return version is not None and ("*" in versions or version in versions)


def _look(folder: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _mode_after(before: os.stat_result | None) -> int:
    return 0o644 if before is None or not stat.S_ISREG(before.st_mode) else before.st_mode & 0o777


def check_readable(info: os.stat_result, owner: int) -> None:
    """Refuses to read what is no file, or may be one that the owner of the workspace could not read.

    Raises:
        Problem: `invalid`.
    """
    kind = kind_of(info)
    if kind != "file":
        raise invalid(f"only files can be fetched, and this is a {kind}", "path")
    if info.st_nlink > 1 and info.st_uid != owner:
        # Its other name may lie where the agent cannot read it; a gateway that is root can.
        raise invalid("only the agent's own files can be fetched, and this one has another name elsewhere", "path")


def _move(name: str, where: int | None, last: str, folder: int, *, only_new: bool) -> None:
    if not only_new:
        os.rename(name, last, src_dir_fd=where, dst_dir_fd=folder)
        return
    try:
        os.link(name, last, src_dir_fd=where, dst_dir_fd=folder, follow_symlinks=False)
    except FileExistsError:
        raise Problem("precondition_failed", "there is one already") from None
    os.unlink(name, dir_fd=where)


@contextmanager
def _root(workspace: Path) -> Iterator[int]:
    try:
        root = beneath.directory(workspace)
    except FileNotFoundError:
        raise _not_found() from None
    try:
        yield root
    finally:
        os.close(root)


@contextmanager
def _at_hand(unplaced: Path, folder: int) -> Iterator[tuple[int, str, int | None]]:
    """A file where it can be moved into a directory: open, its name, and relative to which directory that is."""
    fd = os.open(unplaced, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if os.fstat(fd).st_dev == os.fstat(folder).st_dev:
            yield fd, os.fspath(unplaced), None
            return
        name = f".{secrets.token_hex(8)}.new"
        copy = os.open(name, _NEW, 0o600, dir_fd=folder)
        try:
            paths.copy(fd, copy)
            os.fsync(copy)
            yield copy, name, folder
            unplaced.unlink()
        finally:
            os.close(copy)
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)
    finally:
        os.close(fd)


@contextmanager
def _told(path: str, *, writing: bool = False) -> Iterator[None]:
    """What the system says of a path, as what the caller is told."""
    try:
        yield
    except OSError as error:
        tell_if_full(error)
        if isinstance(error, BlockingIOError):
            raise Problem("overloaded", HELD, retry_after_s=1) from error
        if writing and error.errno in _IN_THE_WAY:
            raise invalid("a name on the way to it is too long, or not that of a directory", "path") from error
        if error.errno not in _GONE:
            raise
        raise _not_found() from error


def _not_found() -> Problem:
    return Problem("not_found", "file not found")
