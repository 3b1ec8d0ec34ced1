"""How a command behind its wall is started; what a wall keeps out is shown in tests/contract/sandbox."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clawdforge.server.sandbox import spawning
from clawdforge.server.sandbox import walled as walled_thread
from clawdforge.server.sandbox.base import Enclosed, Space
from clawdforge.server.sandbox.landlock import Landlock

STREAMS: Any = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "text": True}


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


def run(enclosed: Enclosed, **streams: Any) -> str:
    with spawning.popen(enclosed, **STREAMS, **streams) as started:
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


def test_the_wall_of_a_start_is_taken_by_a_thread_of_its_own(tmp_path: Path) -> None:
    free = restriction_of_this_thread()
    seen: list[threading.Thread] = []
    wall = walled(tmp_path)

    def take() -> None:
        seen.append(threading.current_thread())
        wall()

    told = run(replace(command(tmp_path, "grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status"), restrict=take))
    assert set(told.splitlines()) == {"NoNewPrivs:\t1", "Seccomp:\t2"}
    assert restriction_of_this_thread() == free
    assert [thread.is_alive() for thread in seen] == [False]


def test_what_asks_to_die_with_its_parent_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    """To the kernel, that thread is its parent."""
    argv = ("setpriv", "--pdeathsig", "KILL", "sh", "-c", "read -r word; echo $word")
    enclosed = replace(command(tmp_path, ""), argv=argv, restrict=walled(tmp_path))
    with spawning.popen(enclosed, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as started:
        assert started.communicate("alive\n", timeout=60)[0] == "alive\n"
        assert started.returncode == 0


def test_it_starts_when_the_thread_that_took_its_wall_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread is in its reach: as long as it lives, nothing runs there."""
    lingers = threading.Event()

    def linger(call: Callable[[], object], started: Future[object]) -> None:
        started.set_result(call())
        lingers.wait(60)

    monkeypatch.setattr(walled_thread, "_run", linger)
    monkeypatch.setattr(walled_thread, "_GONE_WITHIN_S", 0.0)
    made = tmp_path / "made"
    with pytest.raises(TimeoutError, match="does not end"):
        run(replace(command(tmp_path, f"touch {made}"), restrict=walled(tmp_path)))
    lingers.set()
    assert not made.exists()


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


def test_where_there_is_no_room_for_a_thread_it_is_an_oserror_as_with_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    enclosed = replace(command(tmp_path, "true"), restrict=walled(tmp_path))
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(BlockingIOError, match="can't start new thread"):
        run(enclosed)


def test_a_program_that_is_not_there_is_told(tmp_path: Path) -> None:
    enclosed = replace(command(tmp_path, ""), argv=("/no/such/program",))
    with pytest.raises(FileNotFoundError, match="/no/such/program"):
        run(enclosed)
    told = run(replace(enclosed, restrict=walled(tmp_path)), stderr=subprocess.STDOUT)
    assert "/no/such/program: not found" in told.replace("No such file or directory", "not found")
