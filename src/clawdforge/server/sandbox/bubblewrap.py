"""A wall of namespaces: a root directory built from nothing, in which a session sees the same paths everywhere.

Builds the command line of bubblewrap; must not run it (`probe` does, to see whether it works here).

As an ordinary user, bubblewrap makes the user namespace. As root it builds the root directory as root, because
what it shows may lie where only root can reach, and then enters a user namespace that knows no root: in it the
agent is `AGENT_ID`, which outside is an uid that owns nothing else. Source: bwrap(1); 0.8 or newer is needed.
"""

from __future__ import annotations

import errno
import fcntl
import os
import resource
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from clawdforge.server.sandbox import restrict, rlimits, seccomp
from clawdforge.server.sandbox.base import (
    AGENT_FILES,
    AGENT_HOME,
    AGENT_ID,
    AGENT_NAME,
    AGENT_TMP,
    AGENT_WORKSPACE,
    Enclosed,
    Level,
    Space,
    View,
)
from clawdforge.server.sandbox.etc import LIVE
from clawdforge.server.sandbox.shown import BESIDE_USR

SIGNAL_EXITS: Final = 128
"""Bubblewrap exits with this much more than the number of the signal that ended its program."""

_NAMESPACES: Final = ("--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try")
_HOSTNAME: Final = "agent"
# For as long as it takes to become the agent; the last one, because the workspace is closed to all but the agent.
_MAY_BECOME_AGENT: Final = ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP", "CAP_DAC_READ_SEARCH")


@dataclass(frozen=True, slots=True)
class AsRoot:
    """What a gateway that is root needs.

    Attributes:
        agent_uid: who agents are on this machine.
        userns: a user namespace in which `AGENT_ID` is the only uid and gid (`userns.make`); stays open.
        setpriv: that program's path.
    """

    agent_uid: int
    userns: int
    setpriv: str


@dataclass(frozen=True, slots=True)
class Bubblewrap:
    """`bwrap` (`base.Wall`).

    Attributes:
        program: the path of bubblewrap.
        etc: what sessions see as /etc (`etc.make`).
        prlimit: that program's path, where there is one: else an ordinary user's session can have any number of
            processes.
        as_root: None for an ordinary user.
    """

    program: str
    etc: Path
    prlimit: str | None = None
    as_root: AsRoot | None = None

    level: Level = "bwrap"
    exit_offset: int | None = SIGNAL_EXITS

    @property
    def agent_uid(self) -> int | None:
        """Who agents are on this machine (see `base.Wall`)."""
        return None if self.as_root is None else self.as_root.agent_uid

    def prepare_thread(self) -> None:
        """No namespace holds the abstract sockets of a network that is open; where the kernel can, this does."""
        restrict.scope_this_thread()

    def view(self, space: Space) -> View:
        """The same paths in every session."""
        return View(
            AGENT_WORKSPACE,
            AGENT_HOME,
            AGENT_TMP,
            (
                (str(space.workspace), AGENT_WORKSPACE),
                (str(space.home), AGENT_HOME),
                (str(space.files), AGENT_FILES),
            ),
            shown=((str(self.etc), "/etc"),),
        )

    def enclose(self, argv: Sequence[str], env: Mapping[str, str], space: Space) -> Enclosed:
        """The command inside its own root (see `base.Wall`)."""
        with ExitStack() as unless_done:
            calls = _opened(unless_done, seccomp.program())
            fds = [calls]
            if self.as_root is not None:
                fds.append(os.dup(self.as_root.userns))
                unless_done.callback(os.close, fds[-1])
            options = (
                *self._privileges(fds[-1]),
                *_NAMESPACES,
                *(("--unshare-net",) if space.network == "none" else ()),
                *("--hostname", _HOSTNAME, "--die-with-parent", "--new-session"),
                *_root(space, self.etc),
                *("--seccomp", str(calls), "--chdir", AGENT_WORKSPACE),
            )
            # Not on the command line: that can be read from inside, and tells where things lie on this side.
            told, hold = _held(unless_done, "".join(f"{word}\0" for word in options).encode())
            fds.append(told)
            limits = rlimits.values(space.limits, own_users=self.as_root is None)
            command = (*self._counted_inside(limits), *self._becoming(), *argv)
            words = (self.program, "--args", str(told), "--", *command)
            unless_done.pop_all()
        return Enclosed(
            words,
            {**env, "HOME": AGENT_HOME, "TMPDIR": AGENT_TMP},
            cwd=Path("/"),
            fds=tuple(fds),
            rlimits=limits,
            hold=hold,
        )

    def close(self) -> None:
        """Lets go of root's user namespace."""
        if self.as_root is not None:
            os.close(self.as_root.userns)

    def _privileges(self, userns: int) -> Iterator[str]:
        yield from ("--cap-drop", "ALL")
        if self.as_root is None:
            yield from ("--unshare-user", "--disable-userns", "--uid", str(AGENT_ID), "--gid", str(AGENT_ID))
            return
        yield from ("--userns2", str(userns))
        for capability in _MAY_BECOME_AGENT:
            yield from ("--cap-add", capability)

    def _counted_inside(self, limits: dict[int, int]) -> Iterator[str]:
        """Takes out of the limits what is set inside: only there the processes of a user namespace are counted."""
        processes = None if self.as_root is not None else limits.pop(resource.RLIMIT_NPROC, None)
        if processes is not None and self.prlimit is not None:
            yield from (self.prlimit, f"--nproc={processes}", "--")

    def _becoming(self) -> Iterator[str]:
        """From a root without a name to the agent, which can never be more again."""
        if self.as_root is not None:
            # By name, which our /etc knows: a number is first looked for as a name, everywhere there is.
            yield from (self.as_root.setpriv, "--reuid", AGENT_NAME, "--regid", AGENT_NAME)
            yield from ("--clear-groups", "--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all", "--")


def _root(space: Space, etc: Path) -> Iterator[str]:
    """The root directory, read-only but for what is the session's own."""
    shown = ["/usr", *map(str, space.programs)]
    own = {AGENT_WORKSPACE: space.workspace, AGENT_HOME: space.home}
    places = [*shown, AGENT_FILES, *own, *space.sockets]
    # First what would hide a program that lies below it.
    yield from ("--proc", "/proc", "--dev", "/dev")
    for path in ("/dev/shm", AGENT_TMP):  # noqa: S108 - on the agent's side
        yield from ("--perms", "1777", "--size", str(space.limits.tmp_bytes), "--tmpfs", path)
    yield from ("--remount-ro", "/dev")
    for folder in _above(places):
        yield from ("--perms", "0755", "--dir", folder)
    for path in shown:
        yield from ("--ro-bind-try", path, path)
    for name in BESIDE_USR:
        yield from _system(name)
    yield from ("--ro-bind", str(etc), "/etc")
    for path in LIVE:
        yield from ("--ro-bind-try", path, path)
    for path, here in own.items():
        yield from ("--bind", str(here), path)
    yield from ("--ro-bind", str(space.files), AGENT_FILES)
    for path, here in space.sockets.items():
        yield from ("--bind", str(here), path)
    yield from ("--remount-ro", "/")


@cache
def _system(name: str) -> tuple[str, ...]:
    """A directory beside /usr: on most systems a link into it. It stays what it is."""
    path = Path(name)
    if path.is_symlink():
        return ("--symlink", str(path.readlink()), name)
    return ("--ro-bind", name, name) if path.is_dir() else ()


def _above(paths: Sequence[str]) -> list[str]:
    """All directories above these, made open: bubblewrap would make them as closed as they are on this side."""
    folders = {str(folder) for path in paths for folder in Path(path).parents}
    return sorted(folders - {"/", "/usr"} - {each for each in folders if each.startswith("/usr/")})


def _opened(unless_done: ExitStack, content: bytes) -> int:
    """An open file that nobody else has, to be read once from its start."""
    fd = os.memfd_create("wall")
    unless_done.callback(os.close, fd)
    os.write(fd, content)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _held(unless_done: ExitStack, content: bytes) -> tuple[int, int]:
    """A pipe with this in it: bubblewrap, which reads to the end, does nothing before the second one is closed."""
    reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    for fd in (reading, writing):
        unless_done.callback(os.close, fd)
    if len(content) > fcntl.fcntl(writing, fcntl.F_GETPIPE_SZ):
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, len(content))
    if os.write(writing, content) != len(content):
        raise OSError(errno.ENOBUFS, "there is no room for what bubblewrap is to be told")
    os.set_blocking(reading, True)
    return reading, writing
