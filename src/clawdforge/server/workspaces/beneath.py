"""Files below a directory that an agent may change at any moment: reached step by step, never through a link.

What stands in the way of a step (a link, a file, a pipe) is removed where something is to be written, and is as
good as nothing where something is to be read. Must not know whose files these are, or what is in them. Blocking.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from clawdforge.server.workspaces import openat2, removal

_PLACE: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_IN_THE_WAY: Final = frozenset({errno.ENOTDIR, errno.ELOOP})
_ENTRY: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_BY_STEPS: Final = frozenset({errno.ENOSYS, errno.EPERM, errno.EACCES})
"""The kernel has no openat2, a filter refuses it, or a directory on the way is shut."""


def directory(path: str | Path, within: int | None = None, rights: int = 0o700) -> int:
    """Opens a directory, never through a link that it is itself, whatever its agent has made of its mode.

    What it has shut would be shut for the next one, and, where the gateway is not root, for the gateway too.

    Args:
        path: of the directory.
        within: the open directory from which the path starts.
        rights: what its owner must be allowed, and is from now on; 0: no mode is changed.

    Raises:
        OSError: it cannot be opened.
    """
    place = os.open(path, _PLACE, dir_fd=within)
    try:
        itself = f"/proc/self/fd/{place}"  # what is open, not what its name may lead to by now
        mode = stat.S_IMODE(os.fstat(place).st_mode)
        if mode & rights != rights:
            os.chmod(itself, mode | rights)  # noqa: PTH101
        return os.open(itself, _DIRECTORY)
    finally:
        os.close(place)


def entry(root: int, path: str, rights: int = 0o500) -> int:
    """What lies at a path below an open directory, as a place: neither opened, nor followed where it is a link.

    Args:
        root: the directory.
        path: relative to it.
        rights: what the owner of directories on the way is allowed from now on, where one is shut for us.

    Raises:
        OSError: nothing lies there, or the way there leads through a link.
        ValueError: the path is none that leads below.
    """
    *folders, last = names = path.split("/")
    if not {"", ".", ".."}.isdisjoint(names):
        raise ValueError("a path below a directory has no empty step, . or ..")
    try:
        return openat2.open_beneath(root, path, _ENTRY)
    except OSError as error:
        if error.errno not in _BY_STEPS:
            raise
    with way(root, folders, rights=rights) as folder:
        return os.open(last, _ENTRY, dir_fd=folder)


def reopened(place: int, flags: int, right: int) -> int:
    """Opens what lies at a place, which has no side effects before; where it is shut, its owner gets this right.

    Raises:
        BlockingIOError: a program has it on a lease: to wait for that would be to wait for an agent.
        OSError: it cannot be opened.
    """
    itself = f"/proc/self/fd/{place}"
    flags |= os.O_NONBLOCK | os.O_CLOEXEC
    try:
        return os.open(itself, flags)
    except PermissionError:
        os.chmod(itself, stat.S_IMODE(os.fstat(place).st_mode) | right)  # noqa: PTH101
        return os.open(itself, flags)


@contextmanager
def way(
    start: int, names: Sequence[str], make_for: tuple[int | None] | None = None, rights: int = 0o700
) -> Iterator[int]:
    """A directory below an open one, by a way of which no step is a link.

    Raises:
        OSError: it cannot be opened.
    """
    folder = os.dup(start)
    try:
        for name in names:
            below = directory(name, folder, rights) if make_for is None else _made(folder, name, *make_for)
            os.close(folder)
            folder = below
        yield folder
    finally:
        os.close(folder)


@contextmanager
def made(root: int, names: Sequence[str], owner: int) -> Iterator[int]:
    """A directory below an open one, made with those on the way to it; made ones go again where the block raises.

    Args:
        root: the directory.
        names: the way; nothing on it is replaced.
        owner: the uid, and gid, of those that are made (0755).

    Raises:
        OSError: one cannot be made or opened; something else has its name.
    """
    with ExitStack() as opened, ExitStack() as unless_done:
        folder = root
        for name in names:
            try:
                os.mkdir(name, 0o755, dir_fd=folder)
            except FileExistsError:
                below = directory(name, folder)
            else:
                unless_done.callback(_remove_empty, folder, name)
                below = directory(name, folder)
                if os.fstat(below).st_uid != owner:
                    _give(below, owner)
            opened.callback(os.close, below)
            folder = below
        yield folder
        unless_done.pop_all()


def read(root: Path, name: str, limit_bytes: int) -> bytes | None:
    """What a regular file holds; None where there is none, or it is longer."""
    try:
        with _folder_of(root, name) as (folder, last):
            fd = os.open(last, _FILE, dir_fd=folder)
    except OSError:
        return None
    return read_open(fd, limit_bytes)


def open_file(root: Path, name: str, flags: int) -> int:
    """Opens a file; one that is made is readable (0644 less the umask), and belongs to whom its directory belongs.

    Args:
        root: a directory that nobody but us can replace.
        name: relative to it; nothing on the way may be a link, nor the file itself.
        flags: of `os.open`.

    Raises:
        OSError: it cannot be opened.
    """
    with _folder_of(root, name, rights=0) as (folder, last):
        fd = os.open(last, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644, dir_fd=folder)
        owner = os.fstat(folder).st_uid
        if flags & os.O_CREAT and os.fstat(fd).st_uid != owner:
            _give(fd, owner)
        return fd


def read_open(fd: int, limit_bytes: int) -> bytes | None:
    """What an open file holds, if that is a regular one and not longer. Closes it."""
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        return None
    with os.fdopen(fd, "rb") as file:
        content = file.read(limit_bytes + 1)
    return content if len(content) <= limit_bytes else None


def modified(root: Path, name: str) -> float:
    """When what is there was changed last, in epoch seconds; 0 where there is nothing."""
    try:
        with _folder_of(root, name) as (folder, last):
            return os.stat(last, dir_fd=folder, follow_symlinks=False).st_mtime
    except OSError:
        return 0


def write(root: Path, name: str, content: bytes, owner: int | None = None) -> None:
    """Puts a file in place whole or not at all, for its owner's eyes (0600), and makes the directories above it.

    Args:
        root: a directory that is there, and that nobody but us can replace.
        name: relative to it.
        content: all of it.
        owner: the uid, and gid, of the file and of the directories that are made; None: our own.

    Raises:
        OSError: it cannot be written; what was there before is, or is gone.
    """
    new = f".{secrets.token_hex(8)}.new"
    with _folder_of(root, name, make_for=(owner,)) as (folder, last):
        try:
            with os.fdopen(os.open(new, _NEW_FILE, 0o600, dir_fd=folder), "wb") as file:
                _give(file.fileno(), owner)
                file.write(content)
            try:
                os.replace(new, last, src_dir_fd=folder, dst_dir_fd=folder)
            except IsADirectoryError:
                remove_in(folder, last)
                os.replace(new, last, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with suppress(OSError):
                os.unlink(new, dir_fd=folder)
            raise


def remove(root: Path, name: str, keeps: Sequence[str] = ()) -> None:
    """Removes what is there, with all that is below it but for what `keeps` names.

    Args:
        root: a directory that nobody but us can replace.
        name: relative to it; one that is not there is no error.
        keeps: patterns of files and directories relative to `root` too, `*` for any name; a link is never kept.

    Raises:
        OSError: something could not be removed.
    """
    kept = [each for each in keeps if _leads_to(each, name)]
    with suppress(FileNotFoundError, NotADirectoryError), _folder_of(root, name) as (folder, last):
        mode = os.stat(last, dir_fd=folder, follow_symlinks=False).st_mode
        itself = any(each.count("/") == name.count("/") for each in kept)
        if itself and (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
            return
        if kept and stat.S_ISDIR(mode):
            with way(folder, [last]) as emptied:
                below = os.listdir(emptied)  # noqa: PTH208 - what is open has no path
            for each in below:
                remove(root, f"{name}/{each}", kept)
        else:
            remove_in(folder, last)


def _leads_to(pattern: str, name: str) -> bool:
    """Whether a pattern names this, or something below it."""
    wanted, parts = pattern.split("/"), name.split("/")
    return len(parts) <= len(wanted) and all(map(fnmatchcase, parts, wanted))


@contextmanager
def _folder_of(
    root: Path, name: str, make_for: tuple[int | None] | None = None, rights: int = 0o700
) -> Iterator[tuple[int, str]]:
    """The open directory in which something lies, and how it is called there."""
    *folders, last = name.split("/")
    start = directory(root, rights=rights)
    try:
        with way(start, folders, make_for, rights) as folder:
            yield folder, last
    finally:
        os.close(start)


def _made(folder: int, name: str, owner: int | None) -> int:
    try:
        return directory(name, folder)
    except OSError as error:
        if error.errno in _IN_THE_WAY:
            os.unlink(name, dir_fd=folder)
        elif error.errno != errno.ENOENT:
            raise
    os.mkdir(name, 0o700, dir_fd=folder)
    made = directory(name, folder)
    _give(made, owner)
    return made


def _remove_empty(folder: int, name: str) -> None:
    with suppress(OSError):  # it holds something by now, or is gone
        os.rmdir(name, dir_fd=folder)


def _give(fd: int, owner: int | None) -> None:
    if owner is not None:
        os.fchown(fd, owner, owner)


def remove_in(folder: int, name: str) -> None:
    """Removes what has this name in an open directory, with all that is below it.

    Raises:
        OSError: something could not be removed.
    """
    removal.remove(Path(f"/proc/self/fd/{folder}") / name)
