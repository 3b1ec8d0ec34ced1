"""A wall by Landlock and seccomp, for places that refuse namespaces: the same paths as here, most of them shut.

What it cannot do is in `SECURITY.md`: the session sees the names and command lines of other processes, and what it
starts can outlive a gateway that was killed. Must not take any of it: the thread that starts the session does
(`spawning`), by `restrict`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from clawdforge.server.sandbox import restrict, rlimits, seccomp
from clawdforge.server.sandbox.base import Enclosed, Level, Space, View, in_place
from clawdforge.server.sandbox.shown import BESIDE_USR, ETC

ABI_NEEDED: Final = 3
"""Before, a file that cannot be written could be emptied all the same. Linux 6.2."""

_SYSTEM: Final = ("/usr", *BESIDE_USR, "/proc")
# Shells look for these by name, and complain, where their user would read it, of what is there and shut.
_FOR_SHELLS: Final = ("/etc/passwd", "/etc/group", "/etc/profile", "/etc/profile.d", "/etc/bash.bashrc")
_DEVICES: Final = tuple(f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty"))


@dataclass(frozen=True, slots=True)
class Landlock:
    """`landlock` (`base.Wall`).

    Attributes:
        agent_uid: who agents are, where the gateway is root.
    """

    agent_uid: int | None = None

    level: Level = "landlock"
    exit_offset: int | None = None

    def prepare_thread(self) -> None:
        """Each start has a thread of its own, which is kept from more."""

    def view(self, space: Space) -> View:
        """Everything where it is."""
        return in_place(space)

    def enclose(self, argv: Sequence[str], env: Mapping[str, str], space: Space) -> Enclosed:
        """The command, and what its thread has to give up (see `base.Wall`)."""
        families = tuple(family for family in seccomp.FAMILIES if _speaks(family, space))
        rights = restrict.Rights(
            write=[str(path) for path in (space.workspace, space.home, space.files)],
            read=[*_SYSTEM, *ETC, *_FOR_SHELLS, *map(str, space.programs)],
            devices=[*_DEVICES, *map(str, space.sockets.values())],
            tcp=space.network == "open",
        )
        view = self.view(space)
        return Enclosed(
            argv=tuple(argv),
            env={**env, "HOME": view.home, "TMPDIR": view.tmp},
            cwd=space.workspace,
            uid=self.agent_uid,
            rlimits=rlimits.values(space.limits, own_users=False),
            restrict=partial(restrict.wall_in, rights, seccomp.program(families=families, among_others=True)),
        )

    def close(self) -> None:
        """There is nothing that it holds."""


def _speaks(family: int, space: Space) -> bool:
    """Unix sockets that lie in files are no matter of Landlock: what could talk to a daemon is not given."""
    if family == seccomp.UNIX:
        return bool(space.sockets)
    return family == seccomp.NETLINK or space.network == "open"
