"""Where on this machine groups of processes can be made, found out by making one and starting a program in it.

Groups lie below the one in which the gateway is, so that what limits the gateway limits all of its agents too.
They bear the gateway's id: what an earlier life of it left is known by that. Blocking: call it from a thread.
"""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from clawdforge.server.sandbox import spawning
from clawdforge.server.sandbox.base import Enclosed, Limits
from clawdforge.server.sandbox.group import CONTROLLERS, Controller, Group, write
from clawdforge.server.sandbox.group_v1 import GroupV1
from clawdforge.server.sandbox.group_v2 import GroupV2

_OWN_LEAF: Final = "clawdforge-gateway"
_TRIAL: Final = Limits(memory_bytes=64 * 1024 * 1024, processes=16, cpu_cores=1)
_TRIAL_TIMEOUT_S: Final = 20


class NoGroups(Exception):
    """No groups can be made here; the message says why."""


@dataclass(frozen=True, slots=True)
class Cgroups:
    """A place for groups. Made by `find`.

    Attributes:
        controllers: what the kernel limits in them.
        ended: the processes of groups that an earlier life of the gateway had left, which were killed.
    """

    controllers: frozenset[Controller]
    ended: tuple[int, ...]
    _make: Callable[[str, Limits], Group] = field(repr=False)
    _closing: ExitStack = field(repr=False)
    _numbers: Iterator[int] = field(default_factory=itertools.count, repr=False)

    def make(self, session_id: str, limits: Limits) -> Group:
        """Makes a group for one start of a session's agent. Raises OSError where it cannot be made."""
        return self._make(f"{session_id}.{next(self._numbers)}", limits)

    def close(self) -> None:
        """Removes the place; its groups must have been removed before."""
        self._closing.close()


@dataclass(frozen=True, slots=True)
class Places:
    """The directories of the groups in which a process is: of cgroup v1 by controller, of v2 the one."""

    v1: Mapping[Controller, Path]
    v2: Path | None
    mounts: tuple[Path, ...]


def find(gateway_id: str) -> Cgroups:
    """Finds a place for groups, ends and removes those of an earlier life, and tries a new one.

    Raises:
        NoGroups: there is none.
    """
    try:
        found = _here()
    except OSError as error:
        raise NoGroups(f"this process's groups cannot be seen: {error}") from error
    name = _name(gateway_id)
    ended = tuple(_cleared(found.mounts, name))
    with ExitStack() as unless_found:
        try:
            if found.v1:
                controllers, make = _v1(found.v1, name, unless_found)
            elif found.v2 is not None:
                controllers, make = _v2(found.v2, name, unless_found)
            else:
                raise NoGroups("cgroups are not mounted")
            _try(make, name)
        except OSError as error:
            raise NoGroups(f"{error.strerror}: {error.filename}") from error
        return Cgroups(controllers, ended, make, unless_found.pop_all())


def clear(gateway_id: str) -> list[int]:
    """Kills and removes all groups of a gateway that does not run. Returns the processes that were in them."""
    return _cleared(_here().mounts, _name(gateway_id))


def places(groups: str, mounts: str) -> Places:
    """Reads /proc/self/cgroup and /proc/self/mountinfo. Source: cgroups(7), proc_pid_mountinfo(5). Pure."""
    own = {}
    for line in groups.splitlines():
        _, names, path = line.split(":", 2)
        own.update(dict.fromkeys(names.split(","), path))
    v1: dict[Controller, Path] = {}
    v2: Path | None = None
    points = []
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        root, point = (each.encode().decode("unicode_escape") for each in before.split()[3:5])
        kind, _, options = after.split()[:3]
        if kind == "cgroup2":
            v2 = _below(point, root, own.get("", "/"))
            points.append(Path(point))
        elif kind == "cgroup":
            for controller in CONTROLLERS:
                if controller in options.split(",") and controller in own:
                    v1[controller] = _below(point, root, own[controller])
                    points.append(Path(point))
    return Places({each: v1[each] for each in CONTROLLERS if each in v1}, v2, tuple(dict.fromkeys(points)))


def _here() -> Places:
    return places(Path("/proc/self/cgroup").read_text(), Path("/proc/self/mountinfo").read_text())


def _name(gateway_id: str) -> str:
    return f"clawdforge-{gateway_id}"


def _below(point: str, root: str, own: str) -> Path:
    """Where a group is to be seen; in a container, which sees no more than its own part, the mount's top."""
    inner = Path(own)
    if inner.is_relative_to(root) and ".." not in inner.parts:
        return Path(point) / inner.relative_to(root)
    return Path(point)


def _v1(
    own: Mapping[Controller, Path], name: str, undo: ExitStack
) -> tuple[frozenset[Controller], Callable[[str, Limits], Group]]:
    parents: dict[Controller, Path] = {}
    way_back: dict[Controller, int] = {}
    refused: OSError | None = None
    for controller, path in own.items():
        try:
            way_back[controller] = os.open(path / "tasks", os.O_WRONLY | os.O_CLOEXEC)
            undo.callback(os.close, way_back[controller])
            if path / name not in parents.values():
                (path / name).mkdir()
                undo.callback(_removed, path / name)
            parents[controller] = path / name
        except OSError as error:
            refused = error
    if refused is not None and not parents:
        raise refused
    return frozenset(parents), lambda group, limits: GroupV1.make(group, parents, way_back, limits)


def _v2(own: Path, name: str, undo: ExitStack) -> tuple[frozenset[Controller], Callable[[str, Limits], Group]]:
    """Where groups have limits there can be no processes above them, so this one moves down beside them."""
    there = (own / "cgroup.controllers").read_text().split()
    controllers = frozenset(each for each in CONTROLLERS if each in there)
    if not controllers:
        raise NoGroups(f"no controller of memory, pids or cpu is delegated to {own}")
    parent, leaf = own / name, own / _OWN_LEAF
    leaf.mkdir(exist_ok=True)
    undo.callback(_removed, leaf)
    write(leaf / "cgroup.procs", str(os.getpid()))
    undo.callback(_written, own / "cgroup.procs", str(os.getpid()))
    wanted = " ".join(f"+{each}" for each in sorted(controllers))
    write(own / "cgroup.subtree_control", wanted)
    undo.callback(_written, own / "cgroup.subtree_control", wanted.replace("+", "-"))
    parent.mkdir()
    undo.callback(_removed, parent)
    write(parent / "cgroup.subtree_control", wanted)
    return controllers, lambda group, limits: GroupV2.make(group, parent, controllers, limits)


def _try(make: Callable[[str, Limits], Group], name: str) -> None:
    """Starts a program in a group, which must find itself there."""
    group = make("trial", _TRIAL)
    try:
        telling = Enclosed(("/bin/cat", "/proc/self/cgroup"), {}, Path("/"))
        with spawning.popen(telling, group, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as started:
            told, _ = started.communicate(timeout=_TRIAL_TIMEOUT_S)
        if f"/{name}/trial\n" not in told.decode():
            raise NoGroups("a program that was started in a group is not in it")
    finally:
        group.kill()
        group.remove()


def _cleared(mounts: Sequence[Path], name: str) -> list[int]:
    """Kills and removes all groups of this name, wherever the gateway was by then. Returns what ran in them."""
    places = [Path(folder, name) for mount in mounts for folder, names, _ in os.walk(mount) if name in names]
    groups = [path for place in places for path in (*(each for each in place.iterdir() if each.is_dir()), place)]
    for path in groups:
        _written(path / "pids.max", "0")  # first of all, in whichever hierarchy: nothing new is started there
    ended: set[int] = set()
    for path in groups:
        left = GroupV2(path, frozenset())
        with suppress(OSError):
            ended.update(left.pids())
            left.kill()
            left.remove()
    return sorted(ended)


def _removed(path: Path) -> None:
    with suppress(OSError):  # what still runs there is found at the next start
        path.rmdir()


def _written(path: Path, text: str) -> None:
    with suppress(OSError):
        write(path, text)
