"""Where workspaces are, and what lies inside of them: judged on real paths, safe against links planted by agents.

An agent may change its workspace at any moment, also between two calls of ours. So what is opened here is opened
relative to a directory that is open already, and never through a link.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from clawdforge.server.workspaces import beneath, removal
from clawdforge.server.workspaces.names import clean, numbered, printable
from clawdforge.wire.problems import Problem, invalid

PROTECTED: Final = frozenset({".claude", ".codex", ".gemini", ".git"})
"""Directories that arm an agent, or that change what a checkout does."""

NAMES_TRIED: Final = 1000
COPY_BYTES: Final = 16 * 1024 * 1024

NAME_LIMIT_BYTES: Final = 255
PATH_LIMIT_BYTES: Final = 4095
"""What the kernel takes."""

_SESSION_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
NO_COPY_RANGE: Final = frozenset({errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM})


def workspace_of(data_dir: Path, session_id: str) -> Path:
    """Where a session's workspace is, or would be.

    Raises:
        ValueError: the id is not one that could name a directory.
    """
    return _place(data_dir, "workspaces", session_id)


def home_of(data_dir: Path, session_id: str) -> Path:
    """Where the private home of a session's agent is, or would be."""
    return _place(data_dir, "homes", session_id)


def tmp_of(data_dir: Path, session_id: str) -> Path:
    """Where a session's temporary files are, or would be."""
    return _place(data_dir, "tmp", session_id)


def snapshots_of(data_dir: Path, session_id: str) -> Path:
    """Where what a session's turns changed is kept, or would be: for the gateway's eyes alone."""
    return _place(data_dir, "snapshots", session_id)


def make_workspace(data_dir: Path, session_id: str, agent_uid: int | None = None) -> Path:
    """Makes a session's workspace, empty and private.

    Args:
        data_dir: the gateway's data directory.
        session_id: the session's.
        agent_uid: who agents are, where they are not the gateway's own user.

    Raises:
        OSError: it exists already, or cannot be made.
    """
    path = workspace_of(data_dir, session_id)
    make_own(path, agent_uid)
    return path


def make_own(path: Path, agent_uid: int | None) -> None:
    """Makes one of a session's directories: nobody's but its agent's (0700).

    The directory above it is made too. Where agents are another user, they may pass that one, and not look around
    there.

    Raises:
        OSError: it exists already, or cannot be made.
    """
    path.parent.mkdir(mode=0o700, exist_ok=True)
    if agent_uid is not None:
        path.parent.chmod(0o711)
    path.mkdir(mode=0o700)
    if agent_uid is not None:
        os.chown(path, agent_uid, agent_uid, follow_symlinks=False)


def session_ids(data_dir: Path) -> set[str]:
    """The ids of all sessions that have a directory, whether the sessions are still known or not."""
    found: set[str] = set()
    for kind in ("workspaces", "homes"):
        with suppress(FileNotFoundError):
            found.update(os.listdir(data_dir / kind))  # noqa: PTH208 - ten times as many Paths would be as slow
    return set(filter(_SESSION_ID.fullmatch, found))


def remove_session(data_dir: Path, session_id: str) -> None:
    """Removes all directories of a session; one that is not there is no error.

    Raises:
        OSError: something in them could not be removed.
    """
    for path in (home_of, tmp_of, snapshots_of, workspace_of):
        removal.remove(path(data_dir, session_id))


def inside(root: Path, path: str | Path) -> Path | None:
    """The real path that a path means, if that is the root or below it; else None.

    Links are resolved, a relative path starts at the root, and what does not exist yet is judged by the part
    that does. The answer holds for this moment only.
    """
    try:
        real_root = os.path.realpath(root)
        real = os.path.realpath(Path(real_root) / path)
    except (ValueError, OSError):  # NUL in it, or too long
        return None
    if real != real_root and not real.startswith(real_root.rstrip("/") + "/"):
        return None
    if _has_link(real, real_root):  # a circle of links, which is not resolved because it leads nowhere
        return None
    return Path(real)


def protected(root: Path, real_path: Path) -> bool:
    """Whether a real path below the root lies in, or is, a directory that agents must not change."""
    below = real_path.relative_to(os.path.realpath(root))
    return any(part.casefold() in PROTECTED for part in below.parts)


def lay(root: Path, source: int, name: str, go_on: Callable[[], None]) -> Path:
    """Copies an open file into a workspace under its cleaned name; a taken name gets ` (2)`, ` (3)`, ….

    Nothing that is there is overwritten or followed, whatever it is. After the call the file is there, readable
    (0644), whole, and belongs to whom the workspace belongs; after an error it is not.

    Args:
        root: the workspace.
        source: where to read, from where it stands to its end.
        name: what somebody called the file.
        go_on: called before each piece of some megabytes; what it raises ends the copy.

    Raises:
        OSError: it cannot be written.
    """
    wanted = clean(name)
    directory = beneath.directory(root)
    try:
        written_as, fd = _create(directory, wanted)
        try:
            copy(source, fd, go_on)
            _give(fd, directory)
            os.fchmod(fd, 0o644)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(written_as, dir_fd=directory)
            raise
        finally:
            os.close(fd)
    finally:
        os.close(directory)
    return root / written_as


def copy(source: int, target: int, go_on: Callable[[], None] = lambda: None) -> None:
    """Copies an open file to its end, in the kernel; file systems that can share the blocks.

    Args:
        source: read from where it stands.
        target: written where it stands.
        go_on: called before each piece of some megabytes; what it raises ends the copy.

    Raises:
        OSError: it cannot be written.
    """
    go_on()
    try:
        while os.copy_file_range(source, target, COPY_BYTES):
            go_on()
    except OSError as error:
        if error.errno not in NO_COPY_RANGE:
            raise
        while os.sendfile(target, source, None, COPY_BYTES):
            go_on()


def relative(raw: bytes) -> str:
    """A path below a workspace, as `os` takes it, also where it is no UTF-8.

    Raises:
        Problem: `invalid` or `bad_request`, where it leads elsewhere or nowhere, or is too long.
    """
    for each in raw.split(b"/"):
        if each in (b"", b".", b".."):
            raise invalid("a path has no empty step, no . and no ..", "path")
        if b"\0" in each:
            raise Problem("bad_request", "the path holds NUL")
        if len(each) > NAME_LIMIT_BYTES:
            raise invalid(f"a name has at most {NAME_LIMIT_BYTES} bytes", "path")
    if len(raw) > PATH_LIMIT_BYTES:
        raise invalid(f"a path has at most {PATH_LIMIT_BYTES} bytes", "path")
    return os.fsdecode(raw)


def check_new(path: str) -> None:
    """Refuses to make names that would mean something else to others.

    Raises:
        Problem: `invalid`, for what is no UTF-8, unprintable, turns the text around it, or has a backslash.
    """
    try:
        text = os.fsencode(path).decode()
    except UnicodeDecodeError:
        raise invalid("a new name is UTF-8", "path") from None
    if "\\" in text or not printable(text):
        raise invalid("a new name has no backslash, and nothing that cannot be printed", "path")


def take_back(path: Path) -> None:
    """Removes what was laid here, or what an agent has put in its place; a directory stays."""
    with suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
        directory = beneath.directory(path.parent)
        try:
            os.unlink(path.name, dir_fd=directory)
        finally:
            os.close(directory)


def _place(data_dir: Path, kind: str, session_id: str) -> Path:
    if not _SESSION_ID.fullmatch(session_id):
        raise ValueError("a session id is letters, digits, _ and -")
    return data_dir / kind / session_id


def _has_link(path: str, root: str) -> bool:
    while path != root:
        if os.path.islink(path):  # noqa: PTH114 - a Path a component would cost more than the question
            return True
        path = os.path.dirname(path)  # noqa: PTH120
    return False


def _create(directory: int, wanted: str) -> tuple[str, int]:
    for number in range(1, NAMES_TRIED + 1):
        name = numbered(wanted, number)
        try:
            return name, os.open(name, _NEW_FILE, 0o600, dir_fd=directory)
        except FileExistsError:
            continue
    raise FileExistsError(errno.EEXIST, "every way to write this name is taken", wanted)


def _give(file: int, directory: int) -> None:
    """Gives a file to whom its directory belongs."""
    whose = os.fstat(directory)
    if whose.st_uid != os.geteuid():
        os.fchown(file, whose.st_uid, whose.st_gid)
