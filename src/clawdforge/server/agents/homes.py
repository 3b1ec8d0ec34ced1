"""An agent's private home: one for each app and agent, with a copy of the user's login in it.

A login that an agent renewed is copied back under a lock, so that a rotated token is not lost to the others. Where
the copy and the user's own differ, the younger one counts: the older is a token that is dead by now.
Must not log what is in a login file. Blocking: call it from a thread.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clawdforge.server.workspaces import removal

_log: Final = logging.getLogger(__name__)
_LOGIN_LIMIT_BYTES: Final = 1024 * 1024


def clear_leftovers(data_dir: Path) -> None:
    """Removes the temporary directories that an earlier life of the gateway left. No agent may run."""
    with suppress(OSError):
        removal.remove(data_dir / "tmp")


@dataclass(frozen=True, slots=True)
class Login:
    """A login file: where the user keeps it, where the agent finds it, what the user's own held when last seen."""

    source: Path
    copy: Path
    digest: bytes | None


class AgentHome:
    """The home of one app's agent, and the temporary directory of one session.

    Attributes:
        path: the agent's HOME.
        tmp: the session's TMPDIR; never above or below `path`.
    """

    def __init__(self, data_dir: Path, app_id: str, agent: str, session_id: str) -> None:
        self.path = data_dir / "homes" / app_id / agent
        self.tmp = data_dir / "tmp" / session_id
        self._lock = data_dir / "login.lock"
        self._logins: list[Login] = []

    def prepare(self, login_files: Sequence[str], home_files: Mapping[str, str]) -> None:
        """Makes both directories, writes our own files and copies the login files in; one missing is no error."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.tmp.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, text in home_files.items():
            if _read(self.path / name) != text.encode():
                _write(self.path / name, text.encode())
        if login_files:
            with self._locked():
                self._logins = [login for each in login_files if (login := self._copied_in(each)) is not None]

    def keep_login(self) -> None:
        """Copies login files back that the agent has changed since they were copied in.

        One that cannot be written is logged, stays in the agent's home, and is tried again the next time.
        """
        if all(_digest(_read(login.copy)) == login.digest for login in self._logins):
            return
        try:
            with self._locked():
                self._logins = [self._copied_back(each) for each in self._logins]
        except OSError as error:
            _log_unkept(error)

    def logins(self) -> list[bytes]:
        """What the login files hold: for hiding it, never for showing it."""
        return [content for login in self._logins if (content := _read(login.copy)) is not None]

    def holds(self, login_file: str) -> bool:
        """Whether the agent has this one of its login files; `prepare` has named them."""
        source = Path(login_file).expanduser()
        return any(login.source == source and login.digest is not None for login in self._logins)

    def write_tmp(self, name: str, text: str) -> Path:
        """Writes a file of the session. Returns its path."""
        _write(self.tmp / name, text.encode())
        return self.tmp / name

    def clear(self) -> None:
        """Removes the session's temporary directory; the home stays."""
        with suppress(OSError):  # what is left is removed at the gateway's next start
            removal.remove(self.tmp)

    def _copied_in(self, name: str) -> Login | None:
        source = Path(name).expanduser()
        home = Path.home()
        copy = self.path / (source.relative_to(home) if source.is_relative_to(home) else source.name)
        if _is_missing(source):
            # Who has logged out is logged out here too. What an agent makes of a key is no login of its user's.
            with suppress(OSError):
                copy.unlink(missing_ok=True)
            return None
        kept, held = _read(source), _read(copy)
        if kept is None or kept == held:
            return Login(source, copy, _digest(held))
        login = Login(source, copy, _digest(kept))
        if held is not None and _age(copy) > _age(source):
            # Renewed, and not copied back yet: by another session that is in mid turn, or before a crash.
            return self._copied_back(login)
        _write(copy, kept)
        return login

    def _copied_back(self, login: Login) -> Login:
        content = _read(login.copy)
        if content is None or _digest(content) == login.digest:
            return login
        # Renewed twice, here and elsewhere: the younger one is the one that still counts.
        if _digest(_read(login.source)) == login.digest or _age(login.copy) >= _age(login.source):
            try:
                _write(login.source, content)
            except OSError as error:
                _log_unkept(error)
                return login
        return Login(login.source, login.copy, _digest(content))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._lock.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _is_missing(path: Path) -> bool:
    """Whether there is no such file; one that cannot be reached may be there."""
    try:
        path.lstat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


def _read(path: Path) -> bytes | None:
    """A small regular file's content. A link that an agent put in its place is not followed."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        return None
    with os.fdopen(fd, "rb") as file:
        content = file.read(_LOGIN_LIMIT_BYTES + 1)
    return content if len(content) <= _LOGIN_LIMIT_BYTES else None


def _write(path: Path, content: bytes) -> None:
    """Puts a file in place whole or not at all, for its owner's eyes."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    new.unlink(missing_ok=True)
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError:
        new.unlink(missing_ok=True)
        raise


def _log_unkept(error: OSError) -> None:
    _log.warning("a login that an agent has renewed could not be copied back: %s", error)


def _digest(content: bytes | None) -> bytes | None:
    return None if content is None else hashlib.sha256(content).digest()


def _age(path: Path) -> float:
    try:
        return path.stat(follow_symlinks=False).st_mtime
    except OSError:
        return 0.0
