"""A wall by Landlock and seccomp, for places that refuse namespaces: the same paths as here, most of them shut.

What it cannot do is in `SECURITY.md`: the session sees the names and command lines of other processes, and what it
starts can outlive a gateway that was killed. Must not run anything: `launcher` does the work, in the child.
"""

from __future__ import annotations

import marshal
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from clawdforge.server.sandbox import launcher, seccomp
from clawdforge.server.sandbox.base import Enclosed, Level, Limits, Space, View, in_place
from clawdforge.server.sandbox.shown import BESIDE_USR, ETC

ABI_NEEDED: Final = 3
"""Before, a file that cannot be written could be emptied all the same. Linux 6.2."""

_FORMAT: Final = 2
"""Of `marshal`: what every Python reads, also one that is not ours."""
_SYSTEM: Final = ("/usr", *BESIDE_USR, "/proc")
# Shells look for these by name, and complain, where their user would read it, of what is there and shut.
_FOR_SHELLS: Final = ("/etc/passwd", "/etc/group", "/etc/profile", "/etc/profile.d", "/etc/bash.bashrc")
_DEVICES: Final = tuple(f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty"))


@dataclass(frozen=True, slots=True)
class Landlock:
    """`landlock` (`base.Wall`).

    Attributes:
        agent_uid: who agents are, where the gateway is root.
        python: runs the launcher.
    """

    agent_uid: int | None = None
    python: str = sys.executable

    level: Level = "landlock"
    exit_offset: int | None = None

    def view(self, space: Space) -> View:
        """Everything where it is."""
        return in_place(space)

    def enclose(self, argv: Sequence[str], env: Mapping[str, str], space: Space) -> Enclosed:
        """The command behind the launcher (see `base.Wall`)."""
        families = tuple(family for family in seccomp.FAMILIES if self._speaks(family, space))
        orders = {
            "write": [str(path) for path in (space.workspace, space.home, space.files)],
            "read": [*_SYSTEM, *ETC, *_FOR_SHELLS, *map(str, space.programs)],
            "devices": [*_DEVICES, *map(str, space.sockets.values())],
            "closed": space.network == "none",
            "filter": seccomp.program(families=families),
            "limits": _limits(space.limits),
            "uid": self.agent_uid,
        }
        fd = os.memfd_create("wall")
        os.write(fd, marshal.dumps(orders, _FORMAT))
        os.lseek(fd, 0, os.SEEK_SET)
        view = self.view(space)
        return Enclosed(
            argv=(self.python, "-I", "-S", launcher.__file__, str(fd), "--", *argv),
            env={**env, "HOME": view.home, "TMPDIR": view.tmp},
            cwd=space.workspace,
            fds=(fd,),
        )

    def close(self) -> None:
        """There is nothing that it holds."""

    def _speaks(self, family: int, space: Space) -> bool:
        """Unix sockets that lie in files are no matter of Landlock: what could talk to a daemon is not given."""
        if family == seccomp.UNIX:
            return bool(space.sockets)
        return family == seccomp.NETLINK or space.network == "open"


def _limits(limits: Limits) -> dict[str, int]:
    # RLIMIT_NPROC would count all that this user runs.
    asked = {"RLIMIT_CORE": 0, "RLIMIT_NOFILE": limits.open_files, "RLIMIT_FSIZE": limits.file_bytes}
    return {name: value for name, value in asked.items() if value is not None}
