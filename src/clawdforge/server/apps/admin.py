"""The admin token: the one that was given, or one made at the first start and kept in a private file.

It is never logged, shown or kept in memory: what is kept is its SHA-256.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

FILE_NAME: Final = "admin-token"
TOKEN_BYTES: Final = 32
SHORTEST: Final = 16
_READ_LIMIT_BYTES: Final = 4096


class AdminTokenUnusable(ValueError):
    """The file of the admin token cannot be used; the message says why, and what to do."""


class AdminToken:
    """The admin token of one gateway.

    Attributes:
        where: where it is kept, in words for the operator.
    """

    def __init__(self, token: str, where: str) -> None:
        self.where = where
        self._digest = hashlib.sha256(token.encode()).digest()

    @classmethod
    def open(
        cls, data_dir: Path, given: str | None, *, random: Callable[[int], bytes] = secrets.token_bytes
    ) -> AdminToken:
        """Takes the token that was given, else the one kept in the data directory, made if there is none.

        Raises:
            AdminTokenUnusable: the file is a link or no file, holds no token, or cannot be read or made.
        """
        if given is not None:
            return cls(given, "CLAWDFORGE_ADMIN_TOKEN")
        path = data_dir / FILE_NAME
        try:
            try:
                return cls(_read(path), str(path))
            except FileNotFoundError:
                token = "cfadmin_" + base64.urlsafe_b64encode(random(TOKEN_BYTES)).decode().rstrip("=")
                _write(path, token)
                return cls(token, str(path))
        except OSError as error:
            raise AdminTokenUnusable(f"The admin token in {path} cannot be used: {error.strerror}.") from error

    def is_admin(self, token: bytes) -> bool:
        """Whether this is the admin token, in a time that does not tell how much of it is right."""
        return hmac.compare_digest(hashlib.sha256(token).digest(), self._digest)


def _read(path: Path) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise AdminTokenUnusable(f"{path} is no file: move it away, and a new admin token is made.")
        os.fchmod(fd, 0o600)  # whatever a backup or a copy made of it
        token = os.read(fd, _READ_LIMIT_BYTES).decode("utf-8", "replace").strip()
    finally:
        os.close(fd)
    if len(token) < SHORTEST:
        raise AdminTokenUnusable(f"{path} holds no token: remove it, and a new one is made.")
    return token


def _write(path: Path, token: str) -> None:
    """Whole or not at all: a crash in between leaves no file without a token."""
    unfinished = path.with_name(path.name + ".new")
    with suppress(FileNotFoundError):
        unfinished.unlink()
    fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, token.encode() + b"\n")
        os.fsync(fd)
    finally:
        os.close(fd)
    unfinished.rename(path)
