"""What each process carries with it, as a real one of them tells."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from clawdforge.server.sandbox import rlimits
from clawdforge.server.sandbox.base import Limits

MIB = 1024 * 1024
PRLIMIT = shutil.which("prlimit")
TELL = """
import resource as r
print(*(r.getrlimit(each)[0] for each in (r.RLIMIT_NPROC, r.RLIMIT_NOFILE, r.RLIMIT_FSIZE, r.RLIMIT_CORE)))
"""


def told(limits: Limits, *, own_users: bool) -> list[int]:
    """Of processes, open files, a file's size, a core's size."""
    command = rlimits.command(PRLIMIT, limits, own_users=own_users)
    done = subprocess.run(
        [*command, sys.executable, "-I", "-S", "-c", TELL], capture_output=True, text=True, check=True
    )
    return [int(each) for each in done.stdout.split()]


@contextmanager
def usual(number: int, soft: int) -> Iterator[None]:
    """This process's own limit is another one meanwhile."""
    before = resource.getrlimit(number)
    resource.setrlimit(number, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(number, before)


def test_where_nothing_is_asked_for_nothing_is_put_before() -> None:
    assert list(rlimits.command(PRLIMIT, Limits(), own_users=True)) == []
    assert list(rlimits.command(None, Limits(open_files=9), own_users=True)) == []


def test_what_is_asked_for_is_kept() -> None:
    assert told(Limits(processes=5000, open_files=99, file_bytes=MIB), own_users=True) == [5000, 99, MIB, 0]


@pytest.mark.parametrize(("processes", "kept"), [(50, 4096), (3000, 12_000)])
def test_where_others_are_counted_too_there_is_room_for_them(processes: int, kept: int) -> None:
    assert told(Limits(processes=processes), own_users=False)[0] == kept


def test_no_more_than_the_gateway_has_itself() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with usual(resource.RLIMIT_FSIZE, MIB):
        found = told(Limits(open_files=most * 2, file_bytes=2 * MIB), own_users=True)
    assert found[1:3] == [most, MIB]


def test_files_can_be_more_than_the_gateway_uses() -> None:
    with usual(resource.RLIMIT_NOFILE, 256):
        assert told(Limits(open_files=1024), own_users=True)[1] == 1024
