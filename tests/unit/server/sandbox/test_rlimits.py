"""What each process carries with it, as a real one of them tells."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from clawdforge.server.sandbox import rlimits, spawning
from clawdforge.server.sandbox.base import Enclosed, Limits

MIB = 1024 * 1024
TELL = """
import resource as r
print(*(r.getrlimit(each) for each in (r.RLIMIT_NPROC, r.RLIMIT_NOFILE, r.RLIMIT_FSIZE, r.RLIMIT_CORE)), sep=";")
"""


def told(limits: Limits, *, own_users: bool, held: bool = False) -> list[tuple[int, int]]:
    """Of processes, open files, a file's size, a core's size."""
    wanted = rlimits.values(limits, own_users=own_users)
    code, fds, hold = TELL, (), None
    if held:
        reading, hold = os.pipe()
        code, fds = f"import os\nos.read({reading}, 1){TELL}", (reading,)
    argv = (sys.executable, "-I", "-S", "-c", code)
    enclosed = Enclosed(argv, {"PATH": os.defpath}, Path("/"), fds, rlimits=wanted, hold=hold)
    with spawning.popen(enclosed, stdout=subprocess.PIPE, text=True) as started:
        return [tuple(map(int, each.strip("()\n").split(","))) for each in started.communicate()[0].split(";")]


@contextmanager
def usual(number: int, soft: int) -> Iterator[None]:
    """This process's own limit is another one meanwhile."""
    before = resource.getrlimit(number)
    resource.setrlimit(number, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(number, before)


def test_where_nothing_is_asked_for_nothing_is_set() -> None:
    assert rlimits.values(Limits(), own_users=True) == {}


@pytest.mark.parametrize("held", [True, False])
def test_what_is_asked_for_is_kept_and_cannot_be_raised(held: bool) -> None:
    limits = Limits(processes=5000, open_files=99, file_bytes=MIB)
    assert told(limits, own_users=True, held=held) == [(5000, 5000), (99, 99), (MIB, MIB), (0, 0)]


@pytest.mark.parametrize(("processes", "kept"), [(50, 4096), (3000, 12_000)])
def test_where_others_are_counted_too_there_is_room_for_them(processes: int, kept: int) -> None:
    assert told(Limits(processes=processes), own_users=False)[0] == (kept, kept)


def test_no_more_than_the_gateway_has_itself() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with usual(resource.RLIMIT_FSIZE, MIB):
        found = told(Limits(open_files=most * 2, file_bytes=2 * MIB), own_users=True)
    assert found[1:3] == [(most, most), (MIB, MIB)]


def test_files_can_be_more_than_the_gateway_uses() -> None:
    with usual(resource.RLIMIT_NOFILE, 256):
        assert told(Limits(open_files=1024), own_users=True)[1] == (1024, 1024)
