"""The data directory: one gateway owns it at a time, and it has an id of its own.

clawdforge.db   the store            workspaces/   the sessions' directories
admin-token     0600                 homes/        the private homes of their agents
blobs/          uploaded bytes       tmp/          what these have for as long as they run
logins/         who has a login now  agents/       agents installed here
snapshots/      what turns changed   models/       weights of the embedded agent
tested/         how tests ended      wall/         what agents see as /etc

Where the gateway is root its agents are not: they may pass this directory, and find open to them what is their own
and the programs in `agents/` and `models/`. All else is for the gateway's user alone.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from clawdforge.wire.problems import Problem

_LOCK: Final = "gateway.lock"
_ID: Final = "gateway-id"
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class DirectoryBusy(Exception):
    """The data directory cannot be owned; the message says why, and what to do."""


class DataDirectory:
    """An owned data directory, until `release`.

    Attributes:
        path: absolute, its links resolved.
        gateway_id: names the gateway of this directory, over all its lives.
    """

    def __init__(self, path: Path) -> None:
        """Makes the directory if need be, and takes it.

        It is closed to all others (0700), also where it was not; where the gateway is root they may pass it
        (0711), for agents are not root.

        Raises:
            DirectoryBusy: another gateway has it, or it cannot be made or written.
        """
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path: Path = path.resolve()
            _close(self.path)
            self._lock_fd = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise DirectoryBusy(f"the data directory {path} cannot be used: {error.strerror}") from error
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.pread(self._lock_fd, 20, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._lock_fd)
            raise DirectoryBusy(
                f"another gateway (process {owner}) owns the data directory {self.path}: "
                "stop it, or give this one another --data-dir"
            ) from error
        try:
            os.ftruncate(self._lock_fd, 0)
            os.pwrite(self._lock_fd, f"{os.getpid()}\n".encode(), 0)
            self.gateway_id: str = self._read_id()
        except (OSError, UnicodeDecodeError) as error:
            os.close(self._lock_fd)
            raise DirectoryBusy(f"the data directory {self.path} cannot be used: {_ID}: {error}") from error

    def release(self) -> None:
        """Lets another gateway take the directory."""
        os.close(self._lock_fd)

    def _read_id(self) -> str:
        file = self.path / _ID
        with suppress(FileNotFoundError):
            if kept := file.read_text().strip():
                return kept
        made = secrets.token_hex(16)
        _write(file, made)
        return made


def _close(directory: Path) -> None:
    """Closes a directory to others, who may at most pass it; the files that lie in it are none of theirs."""
    if directory.stat().st_mode & stat.S_ISVTX:
        raise DirectoryBusy(
            f"the data directory {directory} is shared by all users: give the gateway one of its own, such as "
            f"--data-dir {directory / 'clawdforge'}"
        )
    if os.geteuid() != 0:
        with suppress(PermissionError):  # another user's, who lets us in
            directory.chmod(0o700)
        return
    directory.chmod(0o711)
    for each in directory.iterdir():
        if each.is_file() and not each.is_symlink():
            each.chmod(0o600)


def _write(file: Path, text: str) -> None:
    """Whole or not at all: a crash in between leaves no empty file."""
    unfinished = file.with_name(f"{file.name}.new")
    with unfinished.open("w") as writing:
        unfinished.chmod(0o600)
        writing.write(text)
        writing.flush()
        os.fsync(writing.fileno())
    unfinished.replace(file)


def no_room() -> Problem:
    """What is answered when the disk, or a quota of it, is full."""
    return Problem("storage_full", "the gateway has no room left on its disk")


def tell_if_full(error: OSError) -> None:
    """Raises the Problem that a full disk is; any other error is left to the caller."""
    if error.errno in _NO_ROOM:
        raise no_room() from error
