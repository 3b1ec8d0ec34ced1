"""The user's logins in an agent's home: copied in for as long as it runs, copied back where it has renewed them.

A login that an agent renewed is copied back under a lock, and on to the other agents that run with the one before:
a rotated token is lost to nobody. Where a copy and the user's own differ, the younger one counts: the older is a
token that is dead by now. Must not log what is in a login file. Blocking: call it from a thread.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from clawdforge.server.workspaces import beneath, paths

_log: Final = logging.getLogger(__name__)
_LIMIT_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Login:
    """A login file: where the user keeps it, how it is called in the agent's home, what both held when last seen.

    `digest` is None where nobody has seen them hold the same yet.
    """

    source: Path
    copy: str
    digest: bytes | None = None


class Logins:
    """The copies in one home.

    Args:
        data_dir: the gateway's data directory.
        session_id: whose home it is.
        agent_uid: who agents are, where they are not the gateway's own user.
    """

    def __init__(self, data_dir: Path, session_id: str, agent_uid: int | None) -> None:
        self._home = paths.home_of(data_dir, session_id)
        self._agent_uid = agent_uid
        self._lock = data_dir / "login.lock"
        self._note = _notes(data_dir) / session_id
        self._logins: list[Login] = []

    def copy_in(self, names: Sequence[str]) -> None:
        """Copies login files of the user's into the home; one missing there is removed here.

        Raises:
            OSError: it could not be done.
        """
        with self._locked():
            self._copy_in(names)

    def keep(self) -> None:
        """Copies those back that the agent has changed since they were copied in.

        One that cannot be written is logged, stays in the agent's home, and is tried again the next time.
        """
        if not any(map(self._is_renewed, self._logins)):
            return
        try:
            with self._locked():
                self._logins = [self._copied_back(each) for each in self._logins]
        except OSError as error:
            _log_unkept(error)

    def held(self) -> list[bytes]:
        """What the copies hold: for hiding it, never for showing it."""
        return [held for each in self._logins if (held := self._held(each)) is not None]

    def holds(self, name: str) -> bool:
        """Whether the agent has this one of the login files that were to be copied in."""
        copy = copy_of(name)
        return any(each.copy == copy and self._held(each) is not None for each in self._logins)

    def remove(self) -> None:
        """Removes the copies, once they are kept; one that could not be copied back stays.

        Raises:
            OSError: one could not be removed.
        """
        for login in self._logins:
            if not self._is_renewed(login):
                beneath.remove(self._home, login.copy)
        if not any(map(self._is_renewed, self._logins)):
            self._note.unlink(missing_ok=True)

    def find_left(self) -> None:
        """Takes up the copies that an earlier life of the gateway has left in this home.

        Raises:
            OSError, ValueError: what it has noted of them cannot be read.
        """
        self._logins = [_login(name) for name in json.loads(self._note.read_bytes())]

    # --- under the lock -------------------------------------------------------------------------------------

    def _copy_in(self, names: Sequence[str]) -> None:
        there = [name for name in names if not _is_missing(_source_of(name))]
        if there:  # said first, so that no copy is forgotten
            self._note.parent.mkdir(mode=0o700, exist_ok=True)
            self._note.write_text(json.dumps(there))
        for name in set(names).difference(there):
            # Who has logged out is logged out here too. What an agent makes of a key is no login of its user's.
            beneath.remove(self._home, copy_of(name))
        self._logins = [self._copied_in(_login(name)) for name in there]

    def _copied_in(self, login: Login) -> Login:
        login = self._copied_back(login)  # what could not be when the agent before ended
        kept, held = read(login.source), self._held(login)
        if kept is None or (held is not None and login.digest is None):
            return login
        if kept != held:
            beneath.write(self._home, login.copy, kept, self._agent_uid)
        return replace(login, digest=_digest(kept))

    def _copied_back(self, login: Login) -> Login:
        held, kept = self._held(login), read(login.source)
        if held is None or _digest(held) == login.digest:
            return login
        # Renewed twice, here and elsewhere: the younger one is the one that still counts.
        younger = beneath.modified(self._home, login.copy) >= _modified(login.source)
        if held == kept or _is_missing(login.source) or not (younger or _digest(kept) == login.digest):
            return replace(login, digest=_digest(held))
        if not _can_be_renewed(kept, held):
            _log.warning("what an agent has made of %s is no login, and is not copied back", login.source)
            return replace(login, digest=_digest(held))
        try:
            _replace(login.source, held)
        except OSError as error:
            _log_unkept(error)
            return login
        self._pass_on(login, held)
        return replace(login, digest=_digest(held))

    def _pass_on(self, login: Login, renewed: bytes) -> None:
        """Gives a renewed login to the other agents that run with the one before, which is dead by now."""
        for note in self._note.parent.iterdir():
            home = self._home.parent / note.name
            held = beneath.read(home, login.copy, _LIMIT_BYTES)
            if held is not None and _digest(held) == login.digest:
                beneath.write(home, login.copy, renewed, self._agent_uid)

    def _is_renewed(self, login: Login) -> bool:
        held = self._held(login)
        return held is not None and _digest(held) != login.digest

    def _held(self, login: Login) -> bytes | None:
        return beneath.read(self._home, login.copy, _LIMIT_BYTES)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fd = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


def left(data_dir: Path) -> list[str]:
    """The sessions in whose homes there may be copies."""
    return [note.name for note in _notes(data_dir).glob("*")]


def copy_of(name: str) -> str:
    """Where a login file of the user's lies below an agent's home."""
    path, home = Path(name).expanduser(), Path.home()
    return str(path.relative_to(home)) if path.is_relative_to(home) else path.name


def read(path: Path) -> bytes | None:
    """What a small regular file of the user's holds; None where there is nothing to be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    return beneath.read_open(fd, _LIMIT_BYTES)


def _notes(data_dir: Path) -> Path:
    """Where it is said which copies there are, a file for each session."""
    return data_dir / "logins"


def _login(name: str) -> Login:
    return Login(_source_of(name), copy_of(name))


def _source_of(name: str) -> Path:
    """Where the user keeps a login file; where it really lies, for it will be replaced."""
    return Path(os.path.realpath(Path(name).expanduser()))


def _is_missing(path: Path) -> bool:
    """Whether there is no such file; one that cannot be reached may be there."""
    try:
        path.lstat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


def _can_be_renewed(kept: bytes | None, held: bytes) -> bool:
    """Whether this can be what a login has become: not half of one, whose agent was ended as it wrote, nor none.

    Its keys, and what they hold, tell nothing: another version of the agent may have written it.
    """
    return not _is_object(kept) or _is_object(held)


def _is_object(content: bytes | None) -> bool:
    """Whether this is a JSON object with something in it."""
    try:
        found = json.loads(content or b"")
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and any(found.values())


def _replace(path: Path, content: bytes) -> None:
    """Puts another content into a file of the user's, whole or not at all; its owner and mode stay."""
    was = path.stat()
    new = path.with_name(f".{path.name}.{secrets.token_hex(8)}.new")
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            if (was.st_uid, was.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(fd, was.st_uid, was.st_gid)
            os.fchmod(fd, stat.S_IMODE(was.st_mode))
            file.flush()
            os.fsync(fd)
        new.replace(path)
    except OSError:
        new.unlink(missing_ok=True)
        raise


def _log_unkept(error: OSError) -> None:
    _log.warning("a login that an agent has renewed could not be copied back: %s", error)


def _digest(content: bytes | None) -> bytes | None:
    return None if content is None else hashlib.sha256(content).digest()


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0
