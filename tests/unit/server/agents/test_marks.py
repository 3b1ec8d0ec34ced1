"""Marks: what of them stays with a process, and whom they name."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import pytest

from clawdforge.server.agents import marks

GATEWAY = "3f2a"


@contextmanager
def running(argv: Sequence[str], env: Mapping[str, str]) -> Iterator[int]:
    with subprocess.Popen(argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin and process.stdout
        process.stdin.write(b"up\n")
        process.stdin.flush()
        process.stdout.readline()
        yield process.pid
        process.kill()


@pytest.mark.parametrize("argv", [["cat"], ["env", "-i", "setsid", "-w", "cat"]], ids=["plain", "without all"])
def test_a_number_stays_with_what_was_started_under_it(argv: list[str]) -> None:
    number = marks.number(GATEWAY, 7)
    before = resource.getrlimit(resource.RLIMIT_RTTIME)
    with marks.worn(number):
        pass
    with running(argv, {"PATH": os.environ["PATH"]}) as stranger:
        assert marks.number_of(stranger) is None
        assert not marks.is_of(stranger, GATEWAY)
    with marks.worn(number):
        child = running(argv, {"PATH": os.environ["PATH"]})
        with child as pid:
            assert marks.number_of(pid) == number
            assert marks.is_of(pid, GATEWAY)
            assert not marks.is_of(pid, "another")
    assert resource.getrlimit(resource.RLIMIT_RTTIME) == before
    assert marks.number_of(os.getpid()) is None


def test_a_variable_names_its_gateway_alone() -> None:
    with running(["cat"], {"PATH": os.environ["PATH"], marks.VARIABLE: f"{GATEWAY}:sess_1"}) as pid:
        assert marks.is_of(pid, GATEWAY)
        assert not marks.is_of(pid, GATEWAY[:-1])


def test_numbers_of_a_gateway_differ_and_have_room_for_many() -> None:
    assert len({marks.number(GATEWAY, serial) for serial in range(1000)}) == 1000
    assert marks.number(GATEWAY, 1 << 29) == marks.number(GATEWAY, 0)
    assert marks.number(GATEWAY, 0) != marks.number("another", 0)
    assert all(marks.number(GATEWAY, serial) < 1 << 62 for serial in (0, (1 << 29) - 1))


def test_nothing_is_known_of_a_process_that_is_not_there() -> None:
    with running(["cat"], {"PATH": os.environ["PATH"]}) as pid:
        pass
    assert marks.number_of(pid) is None
    assert not marks.is_of(pid, GATEWAY)
