"""How a command behind its wall is started; what a wall keeps out is shown in tests/contract/sandbox."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from clawdforge.server.sandbox import spawning
from clawdforge.server.sandbox.base import Enclosed, Space
from clawdforge.server.sandbox.landlock import Landlock

STREAMS = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "text": True}


def command(cwd: Path, script: str) -> Enclosed:
    return Enclosed(("/bin/sh", "-c", script), {"PATH": os.defpath, "NAME": "value"}, cwd)


def walled(cwd: Path) -> Callable[[], object]:
    """What the thread of a start gives up at the level of landlock."""
    wall = Landlock().enclose((), {}, Space(cwd, cwd, cwd)).restrict
    assert wall is not None
    return wall


def restriction_of_this_thread() -> set[str]:
    told = Path("/proc/thread-self/status").read_text().splitlines()
    return {line for line in told if line.startswith(("NoNewPrivs:", "Seccomp:"))}


def run(enclosed: Enclosed) -> str:
    with spawning.popen(enclosed, **STREAMS) as started:
        told: str = started.communicate(timeout=60)[0]
    return told


def test_it_starts_where_and_with_what_it_was_told_to(tmp_path: Path) -> None:
    with spawning.popen(
        command(tmp_path, 'pwd; echo "$NAME"; cut -d " " -f 6 /proc/$$/stat'), **STREAMS
    ) as started:
        told = started.communicate(timeout=60)[0].split()
    assert told == [str(tmp_path), "value", str(started.pid)], "the leader of a session of its own"


def test_what_it_was_to_inherit_is_closed_here_and_open_there(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    assert run(replace(command(tmp_path, f"echo heard >/dev/fd/{writing}"), fds=(writing,))) == ""
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(writing)
    assert os.read(reading, 10) == b"heard\n"
    os.close(reading)


def test_the_wall_of_a_start_is_taken_by_a_thread_that_is_no_more(tmp_path: Path) -> None:
    free, threads = restriction_of_this_thread(), threading.active_count()
    seen: list[threading.Thread] = []
    wall = walled(tmp_path)

    def take() -> None:
        seen.append(threading.current_thread())
        wall()

    told = run(replace(command(tmp_path, "grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status"), restrict=take))
    assert set(told.splitlines()) == {"NoNewPrivs:\t1", "Seccomp:\t2"}
    assert restriction_of_this_thread() == free
    assert threading.active_count() == threads
    assert [thread.is_alive() for thread in seen] == [False]


def test_where_the_wall_cannot_be_taken_nothing_starts(tmp_path: Path) -> None:
    made = tmp_path / "made"
    fd = os.open("/dev/null", os.O_RDONLY)

    def refuse() -> None:
        raise PermissionError("refused")

    with pytest.raises(PermissionError, match="refused"):
        run(replace(command(tmp_path, f"touch {made}"), restrict=refuse, fds=(fd,)))
    assert not made.exists()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


@pytest.mark.parametrize("wall", [None, walled])
def test_a_program_that_is_not_there_is_told(
    tmp_path: Path, wall: Callable[[Path], Callable[[], object]] | None
) -> None:
    enclosed = replace(command(tmp_path, ""), argv=("/no/such/program",), restrict=wall and wall(tmp_path))
    with pytest.raises(FileNotFoundError, match="/no/such/program"):
        run(enclosed)
