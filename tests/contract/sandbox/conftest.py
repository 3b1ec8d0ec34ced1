"""Stands, and what an intruder there is after."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from clawdforge.server.sandbox import spawning
from harness.stand import LEGS, Ground, Stand, ground, interpreter, standing

__all__ = ["LEGS", "Stand", "python"]


def python() -> str:
    """The one that intruders run on."""
    return interpreter().path


@pytest.fixture(scope="session")
def common_ground() -> Iterator[Ground]:
    """The walls, tried once."""
    with ground() as made:
        yield made


@pytest.fixture
def place(common_ground: Ground, request: pytest.FixtureRequest) -> Path:
    """A directory that others may pass, but not list."""
    path = common_ground.path / f"test-{len(list(common_ground.path.iterdir()))}"
    path.mkdir()
    path.chmod(0o711)
    return path


@pytest.fixture(params=LEGS)
def stand(request: pytest.FixtureRequest, common_ground: Ground, place: Path) -> Iterator[Stand]:
    """Each level, as root and as an ordinary user; others by `EVERYWHERE` and `AS_ROOT`."""
    with standing(request.param, common_ground, place) as made:
        yield made


@dataclass(frozen=True)
class Victim:
    """A process that waits, and an address in it at which something stands."""

    pid: int
    address: int


@pytest.fixture
def victim(stand: Stand) -> Iterator[Victim]:
    """A process of the very user that the intruder is, with a secret: as another session's agent."""
    with _waiting(stand.agent_uid) as made:
        yield made


@pytest.fixture
def gateway(stand: Stand) -> Iterator[Victim]:
    """A process of the user who builds the wall, with a secret."""
    with _waiting(stand.spawn_as) as made:
        yield made


@contextmanager
def _waiting(uid: int | None) -> Iterator[Victim]:
    with subprocess.Popen(
        ["/bin/cat"],
        env={"SECRET": "of-another"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        **spawning.as_user(uid),
    ) as process:
        assert process.stdin and process.stdout
        process.stdin.write(b".")
        process.stdin.flush()
        assert process.stdout.read(1) == b"."
        maps = Path(f"/proc/{process.pid}/maps").read_text().splitlines()
        writable = next(line for line in maps if line.split()[1].startswith("rw"))
        yield Victim(process.pid, int(writable.split("-")[0], 16))
        assert process.poll() is None, "the intruder has ended it"
        process.send_signal(signal.SIGKILL)
