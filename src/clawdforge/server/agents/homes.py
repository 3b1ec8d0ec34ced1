"""The private home of a session's agent, with a copy of the user's login in it for as long as the agent runs.

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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from clawdforge.server.workspaces import beneath, copying, paths, removal
from clawdforge.server.workspaces.copying import Limits

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


def clear_leftovers(data_dir: Path) -> None:
    """Removes what an earlier life of the gateway left: temporary files, and copies of logins. No agent may run.

    A login that an agent had renewed by then is copied back first.
    """
    for note in (data_dir / "logins").glob("*"):
        with suppress(OSError, ValueError):
            AgentHome(data_dir, note.name).clear_after_crash()
    with suppress(OSError):
        removal.remove(data_dir / "tmp")


class AgentHome:
    """The home of a session's agent, and its temporary directory. Both belong to the agent.

    Args:
        data_dir: the gateway's data directory.
        session_id: the session's.
        agent_uid: who agents are, where they are not the gateway's own user.

    Attributes:
        data_dir: the gateway's.
        path: the agent's HOME; stays when the agent ends, and goes with the session.
        tmp: what it has for as long as it runs; never above or below `path`.
    """

    def __init__(self, data_dir: Path, session_id: str, agent_uid: int | None = None) -> None:
        self.data_dir = data_dir
        self.path: Path = paths.home_of(data_dir, session_id)
        self.tmp: Path = paths.tmp_of(data_dir, session_id)
        self._agent_uid = agent_uid
        self._lock = data_dir / "login.lock"
        self._note = data_dir / "logins" / session_id
        self._logins: list[Login] = []
        self._brought: list[bytes] = []

    def prepare(
        self,
        login_files: Sequence[str] = (),
        home_files: Mapping[str, str] | None = None,
        resets: Sequence[str] = (),
        keeps: Sequence[str] = (),
    ) -> None:
        """Makes both directories, and has in them what an agent may start with.

        Args:
            login_files: copied in from the user's home; one missing is no error.
            home_files: our own files, by their path in the agent's home.
            resets: removed first, so that no earlier agent of the session has a say in them.
            keeps: what below those stays (see `beneath.remove`).

        Raises:
            OSError: something could not be made, written or removed.
        """
        for path in (self.path, self.tmp):
            with suppress(FileExistsError):
                paths.make_own(path, self._agent_uid)
            os.close(beneath.directory(path))
        for name in resets:
            beneath.remove(self.path, name, keeps)
        for name, text in (home_files or {}).items():
            beneath.write(self.path, name, text.encode(), self._agent_uid)
        if login_files:
            with self._locked():
                self._copy_in(login_files)

    def copy_from(
        self,
        session_id: str,
        limits: Limits,
        go_on: Callable[[], None],
        login_files: Sequence[str] = (),
        resets: Sequence[str] = (),
        keeps: Sequence[str] = (),
    ) -> None:
        """Makes this home a copy of another session's, without a login; there is none before.

        Args:
            session_id: the other session; its agent may run. One without a home leaves this one without.
            limits: how much is copied at most.
            go_on: called before each piece of work; what it raises ends the copy.
            login_files: as for `prepare`; so are `resets` and `keeps`.

        Raises:
            copying.TooMuch: there is more; then there is no home here.
            OSError: it cannot be read or written.
        """
        source = paths.home_of(self.data_dir, session_id)
        if _is_missing(source):
            return
        paths.make_own(self.path, None)  # the agent's once all is there, and what must not be is not
        try:
            logins = {_copy_of(name) for name in login_files}
            copying.copy(source, self.path, self._agent_uid, limits, go_on, leave_out=logins)
            for name in resets:
                beneath.remove(self.path, name, keeps)
        except copying.TooMuch:
            removal.remove(self.path)
            raise
        if self._agent_uid is not None:
            os.chown(self.path, self._agent_uid, self._agent_uid)

    def keep_login(self) -> None:
        """Copies login files back that the agent has changed since they were copied in.

        One that cannot be written is logged, stays in the agent's home, and is tried again the next time.
        """
        if not any(map(self._is_renewed, self._logins)):
            return
        try:
            with self._locked():
                self._logins = [self._copied_back(each) for each in self._logins]
        except OSError as error:
            _log_unkept(error)

    def logins(self) -> list[bytes]:
        """What the login files hold: for hiding it, never for showing it."""
        return [*(held for each in self._logins if (held := self._held(each)) is not None), *self._brought]

    def holds(self, login_file: str) -> bool:
        """Whether the agent has this one of its login files; `prepare` has named them."""
        copy = _copy_of(login_file)
        return any(each.copy == copy and self._held(each) is not None for each in self._logins)

    def bring(self, name: str, file: str) -> Path | None:
        """Hands a secret file of the user's to the agent, for as long as it runs.

        Args:
            name: how it is called there.
            file: where the user has it.

        Returns:
            The path of the copy; None where there is nothing to be read.
        """
        content = _read(Path(file))
        if content is None:
            return None
        self._brought.append(content)
        return self._write_tmp(name, content)

    def write_tmp(self, name: str, text: str) -> Path:
        """Writes a file of the session, for as long as its agent runs. Returns its path."""
        return self._write_tmp(name, text.encode())

    def clear(self) -> None:
        """Once the agent has ended: keeps its login, then removes its copy of it and its temporary files.

        The home stays, and so does a login that could not be copied back.
        """
        self.keep_login()
        with suppress(OSError):  # what is left is removed at the gateway's next start
            for login in self._logins:
                if not self._is_renewed(login):
                    beneath.remove(self.path, login.copy)
            if not any(map(self._is_renewed, self._logins)):
                self._note.unlink(missing_ok=True)
        with suppress(OSError):
            removal.remove(self.tmp)

    def clear_after_crash(self) -> None:
        """The same for an agent of an earlier life of the gateway."""
        self._logins = [_login(name) for name in json.loads(self._note.read_bytes())]
        self.clear()

    def _write_tmp(self, name: str, content: bytes) -> Path:
        beneath.write(self.tmp, name, content, self._agent_uid)
        return self.tmp / name

    # --- logins, under the lock ------------------------------------------------------------------------------

    def _copy_in(self, names: Sequence[str]) -> None:
        there = [name for name in names if not _is_missing(_source_of(name))]
        if there:  # said first, so that no copy is forgotten
            self._note.parent.mkdir(mode=0o700, exist_ok=True)
            self._note.write_text(json.dumps(there))
        for name in set(names).difference(there):
            # Who has logged out is logged out here too. What an agent makes of a key is no login of its user's.
            beneath.remove(self.path, _copy_of(name))
        self._logins = [self._copied_in(_login(name)) for name in there]

    def _copied_in(self, login: Login) -> Login:
        login = self._copied_back(login)  # what could not be when the agent before ended
        kept, held = _read(login.source), self._held(login)
        if kept is None or (held is not None and login.digest is None):
            return login
        if kept != held:
            beneath.write(self.path, login.copy, kept, self._agent_uid)
        return replace(login, digest=_digest(kept))

    def _copied_back(self, login: Login) -> Login:
        held, kept = self._held(login), _read(login.source)
        if held is None or _digest(held) == login.digest:
            return login
        # Renewed twice, here and elsewhere: the younger one is the one that still counts.
        younger = beneath.modified(self.path, login.copy) >= _modified(login.source)
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
            home = self.path.parent / note.name
            held = beneath.read(home, login.copy, _LIMIT_BYTES)
            if held is not None and _digest(held) == login.digest:
                beneath.write(home, login.copy, renewed, self._agent_uid)

    def _is_renewed(self, login: Login) -> bool:
        held = self._held(login)
        return held is not None and _digest(held) != login.digest

    def _held(self, login: Login) -> bytes | None:
        return beneath.read(self.path, login.copy, _LIMIT_BYTES)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fd = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


def _login(name: str) -> Login:
    return Login(_source_of(name), _copy_of(name))


def _source_of(name: str) -> Path:
    """Where the user keeps a login file; where it really lies, for it will be replaced."""
    return Path(os.path.realpath(Path(name).expanduser()))


def _copy_of(name: str) -> str:
    """The same file below an agent's home."""
    path, home = Path(name).expanduser(), Path.home()
    return str(path.relative_to(home)) if path.is_relative_to(home) else path.name


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
    """A small regular file of the user's."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    return beneath.read_open(fd, _LIMIT_BYTES)


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
