"""Walls as they are used, and an intruder behind each: as root, and as an ordinary user.

Where the tests run as root, what is started as an ordinary user is started as one. Where they run as an ordinary
user, there is no root to test.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
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
from typing import Any

import pytest

from clawdforge.server.sandbox import probe, spawning
from clawdforge.server.sandbox.base import Enclosed, Limits, Space, Wall
from clawdforge.server.sandbox.bubblewrap import Bubblewrap
from clawdforge.server.sandbox.landlock import Landlock
from harness import intruder

AGENT_UID = 64_001
USER_UID = 64_002
ROOT = os.geteuid() == 0
LEGS = ["bwrap-root", "bwrap-user", "landlock-root", "landlock-user"] if ROOT else ["bwrap-user", "landlock-user"]
INTRUDER = str(Path(intruder.__file__).resolve())
MIB = 1024 * 1024


def passable(path: Path) -> bool:
    """Whether anybody may go there and read it."""
    return all(each.stat().st_mode & stat.S_IXOTH for each in path.resolve().parents)


def python() -> str:
    """A Python that an ordinary user may run too: not every one of root's is."""
    found = next((each for each in (sys.executable, "/usr/bin/python3") if passable(Path(each))), None)
    assert found is not None, "no Python here can be run by an ordinary user: install python3 into /usr"
    return found


# setgroups, setresgid, setresuid: of a thread alone, as long as no library makes the calls. Then prctl.
CALLS = {"x86_64": (116, 119, 117, 157), "aarch64": (159, 149, 147, 167)}
PR_SET_DUMPABLE = 4


def become(uid: int) -> None:
    """Makes this thread an ordinary user's, for good, and leaves the others what they are."""
    syscall = ctypes.CDLL(None, use_errno=True).syscall
    groups, gid, user, prctl = CALLS[os.uname().machine]
    for call in ((groups, 0, None), (gid, uid, uid, uid), (user, uid, uid, uid), (prctl, PR_SET_DUMPABLE, 1, 0)):
        assert syscall(*call) == 0, os.strerror(ctypes.get_errno())


@dataclass(frozen=True)
class Stand:
    """A place where an intruder can be let loose.

    `spawn_as` is the uid under which a wall is built, in `thread`, as the gateway does; `agent_uid` who the
    intruder is on this side of it; None stands for who runs the tests.
    """

    wall: Wall
    place: Path
    spawn_as: int | None
    agent_uid: int | None
    thread: ThreadPoolExecutor

    def space(self, name: str, **changes: Any) -> Space:
        """A session's directories, its agent's own."""
        made = [self.place / name / each for each in ("workspace", "home", "files")]
        for path in made:
            path.mkdir(parents=True, mode=0o700)
            if self.agent_uid is not None:
                os.chown(path, self.agent_uid, self.agent_uid)
        workspace, home, files = made
        asked = Space(workspace, home, files, (Path(INTRUDER),), limits=Limits(tmp_bytes=MIB))
        return replace(asked, **changes)

    @property
    def who(self) -> dict[str, Any]:
        """What `Popen` is told of who builds the wall."""
        return spawning.as_user(self.spawn_as)

    def start(
        self, space: Space, command: Sequence[str], env: Mapping[str, str] = MappingProxyType({})
    ) -> tuple[subprocess.Popen[str], Enclosed]:
        """Starts a command behind the wall."""

        def start() -> tuple[subprocess.Popen[str], Enclosed]:
            enclosed = self.wall.enclose(command, {"PATH": os.defpath, **env}, space)
            streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
            return spawning.popen(enclosed, **streams), enclosed

        return self.thread.submit(start).result()

    def attack(self, space: Space, verb: Callable[..., Any] | str, *arguments: object) -> dict[str, Any]:
        """What an intruder gets: {"got": …} or {"refused": …}."""
        name = verb if isinstance(verb, str) else verb.__name__
        started, _ = self.start(space, (python(), "-I", INTRUDER, name, *map(str, arguments)))
        with started:
            out, err = started.communicate(timeout=60)
        assert started.returncode == 0, err
        answer: dict[str, Any] = json.loads(out)
        return answer


@contextmanager
def standing(wall: Wall, place: Path, spawn_as: int | None, agent_uid: int | None) -> Iterator[Stand]:
    """A stand, and the thread that starts what stands there."""

    def prepare() -> None:
        if spawn_as is not None:
            become(spawn_as)
        wall.prepare_thread()

    with ThreadPoolExecutor(1, initializer=prepare) as thread:
        yield Stand(wall, place, spawn_as, agent_uid, thread)


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that others may pass, but not list."""
    path = Path(tempfile.mkdtemp(prefix="wall-", dir="/var/tmp"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


@pytest.fixture(params=LEGS)
def stand(request: pytest.FixtureRequest, place: Path) -> Iterator[Stand]:
    """Each level, as root and as an ordinary user."""
    level, _, who = request.param.partition("-")
    ordinary = ROOT and who == "user"
    uid = USER_UID if ordinary else AGENT_UID if ROOT else None
    wall = tried = probe.wall(level, place, AGENT_UID)
    if ordinary and isinstance(wall, Bubblewrap):
        wall = replace(wall, as_root=None)
    if ordinary and isinstance(wall, Landlock):
        wall = replace(wall, agent_uid=None)
    with standing(wall, place, USER_UID if ordinary else None, uid) as made:
        yield made
    tried.close()


@pytest.fixture
def victim(stand: Stand) -> Iterator[subprocess.Popen[bytes]]:
    """A process of the very user that the intruder is, with a secret: as another session's agent."""
    with subprocess.Popen(
        ["/bin/cat"],
        env={"SECRET": "of-another"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        **spawning.as_user(stand.agent_uid),
    ) as process:
        assert process.stdin and process.stdout
        process.stdin.write(b".")
        process.stdin.flush()
        assert process.stdout.read(1) == b"."
        yield process
        assert process.poll() is None, "the intruder has ended it"
        process.send_signal(signal.SIGKILL)
