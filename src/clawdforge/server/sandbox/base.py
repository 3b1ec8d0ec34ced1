"""What a wall is: the levels, what a session may have on its side of it, and how paths read from there.

Values and one protocol. Must not look at this machine: `probe` and the levels do.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final, Literal, Protocol

from clawdforge.wire.sandbox import SandboxLevel, SandboxNetwork

Level = SandboxLevel
Network = SandboxNetwork

AGENT_WORKSPACE: Final = "/workspace"
AGENT_HOME: Final = "/home/agent"
AGENT_FILES: Final = "/run/session"
AGENT_TMP: Final = "/tmp"  # noqa: S108 - the agent's own, behind its wall
AGENT_ID: Final = 1000
"""The uid and gid that an agent sees itself have, where a wall can make it see anything."""
AGENT_NAME: Final = "agent"
"""How the user and the group of that number are called there."""

MIB: Final = 1024 * 1024


class WallUnavailable(Exception):
    """A level does not work here; the message says why, and what mends it."""


LimitName = Literal["memory", "processes", "file", "workspace"]
"""What ended an agent, where a limit did."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one session may take at most; None leaves the machine's own limit.

    Attributes:
        memory_bytes: of all its processes together, with what its /tmp holds and what is swapped out.
        processes: processes and threads of the session.
        cpu_cores: how much of the machine's processors; 0.5 is half of one.
        open_files: for each process.
        file_bytes: the largest file that can be written.
        tmp_bytes: what /tmp, and /dev/shm, may hold, where they are the session's own.
        workspace_bytes: what its workspace and its home may hold together, and its TMPDIR where that is no /tmp of
            its own.
    """

    memory_bytes: int | None = None
    processes: int | None = None
    cpu_cores: float | None = None
    open_files: int | None = None
    file_bytes: int | None = None
    tmp_bytes: int = 512 * MIB
    workspace_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Space:
    """What a session may have of this machine. All paths are absolute and exist.

    Attributes:
        workspace: the session's directory, writable.
        home: the agent's private home, writable.
        files: the session's own directory for what the gateway hands to its agent. Also its TMPDIR, where the wall
            cannot give it a /tmp of its own; else read-only.
        programs: what the agent's program consists of; read-only, at the same paths as here.
        sockets: unix sockets that it may connect to, by their paths on its side.
        network: all of the machine's, or none.
    """

    workspace: Path
    home: Path
    files: Path
    programs: Sequence[Path] = ()
    sockets: Mapping[str, Path] = field(default_factory=dict)
    network: Network = "open"
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class View:
    """What a session looks like from the agent's side. Pure.

    Attributes:
        workspace, home, tmp: the session's directory, HOME and TMPDIR, as the agent knows them.
        moved: what lies elsewhere there: pairs of (here, there). Where no wall moves anything, there are none, and
            every path is told as it is.
        shown: pairs of what is not the session's own, and is seen by another path there.
    """

    workspace: str
    home: str
    tmp: str
    moved: tuple[tuple[str, str], ...] = ()
    shown: tuple[tuple[str, str], ...] = ()

    def there(self, path: str | Path) -> str:
        """A path of this machine as the agent knows it; as it is where nothing was moved."""
        return _moved(str(path), self.moved) or str(path)

    def here(self, path: str) -> str | None:
        """A path of the agent's on this machine, or None where it is not one of the session's own.

        A relative path stays one: it starts at the workspace on both sides. `..` is kept: what it means depends on
        the links before it, so it is judged where links are.
        """
        if not self.moved or not path.startswith("/"):
            return path
        return _moved(path, [(there, here) for here, there in self.moved])

    def retold(self, text: str) -> str:
        """What a wall, or whoever builds it, says of this machine, by the paths that the agent knows."""
        for here, there in (*self.moved, *self.shown):
            text = text.replace(here, there)
        return text


@dataclass(frozen=True, slots=True)
class Enclosed:
    """A command behind its wall, ready to be spawned.

    Attributes:
        argv: the whole command line; its first word is an absolute path.
        env: the whole environment.
        cwd: where to start it, on this machine.
        fds: must be open in the child under the same numbers; ours to close, by `close`, once it has started.
        uid: the uid and gid, without other groups, under which to start it; None: the gateway's own.
        becoming: words ahead of a command line that do just that; (): whoever starts it has to.
        restrict: to be called first by the thread that starts it: it gives up for good what the program must not
            have; so that thread is one for this start alone (`spawning.popen`). None: any thread will do.
        rlimits: are to be set on it before it is let go.
        hold: it does nothing before this descriptor is closed, which `close` does. None: it begins at once.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)
    cwd: Path
    fds: tuple[int, ...] = ()
    uid: int | None = None
    becoming: tuple[str, ...] = ()
    restrict: Callable[[], object] | None = field(default=None, repr=False)
    rlimits: Mapping[int, int] = field(default_factory=dict)
    hold: int | None = None

    def close(self) -> None:
        """Lets it begin, and lets go of the descriptors that it has by now, or will not have."""
        for fd in self.fds if self.hold is None else (*self.fds, self.hold):
            os.close(fd)


class Wall(Protocol):
    """One level, ready for use. Made by `probe`, which has tried it."""

    @property
    def level(self) -> Level:
        """Which one."""

    @property
    def agent_uid(self) -> int | None:
        """Who agents are on this machine, where they are not the gateway's own user: what a session may write to
        must belong to that uid."""

    @property
    def exit_offset(self) -> int | None:
        """An exit code above this one stands for the signal of the difference; None: never."""

    def prepare_thread(self) -> None:
        """To be called once, first of all, by the thread from which all that stands behind it is started.

        It may give up for good what nothing behind the wall must have.
        """

    def view(self, space: Space) -> View:
        """How a session looks from its agent's side."""

    def enclose(self, argv: Sequence[str], env: Mapping[str, str], space: Space) -> Enclosed:
        """Puts a command behind the wall. HOME and TMPDIR are set; the rest of the environment stays.

        To be called where it is spawned at once: the answer holds files open, and must be closed.
        """

    def close(self) -> None:
        """Lets go of what it holds; what stands behind it stays there."""


def in_place(space: Space) -> View:
    """The view of a wall that moves nothing."""
    return View(str(space.workspace), str(space.home), str(space.files))


def _moved(path: str, pairs: Sequence[tuple[str, str]]) -> str | None:
    wanted = PurePosixPath(path)
    for source, target in pairs:
        if wanted.is_relative_to(source):
            return str(PurePosixPath(target) / wanted.relative_to(source))
    return None
