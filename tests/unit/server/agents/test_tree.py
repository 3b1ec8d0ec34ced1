"""Trees of processes: whom a look names, when a sweep is over, and that a reused pid is nobody's."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from clawdforge.server.agents import tree
from clawdforge.server.agents.tree import ProcessStat, Sweep

SOMEBODY = ProcessStat(pid=17, parent=1, group=17, session=17, started=1, zombie=False)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    argv = [sys.executable, "-I", "-S", "-c", "import time; print(flush=True); time.sleep(600)"]
    with subprocess.Popen(argv, start_new_session=True, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_only_what_two_looks_do_not_see_is_not_there() -> None:
    sweep = Sweep(17, "mark")
    for alive, over in (([], False), ([SOMEBODY], False), ([], False), ([], True)):
        sweep.saw(alive, unclear=False)
        assert sweep.over is over
    assert sweep.left == []


def test_one_that_shows_no_environment_yet_is_given_a_moment() -> None:
    sweep = Sweep(17, "mark")
    for _ in range(5):
        sweep.saw([], unclear=True)
    assert not sweep.over
    sweep._began -= 1
    sweep.saw([], unclear=True)
    sweep.saw([], unclear=True)
    assert sweep.over


def test_a_sweep_whose_time_is_up_says_what_it_leaves() -> None:
    sweep = Sweep(17, "mark", within_s=0)
    sweep.saw([SOMEBODY], unclear=False)
    assert (sweep.over, sweep.left) == (True, [17])


def test_a_look_that_could_not_be_taken_counts_for_nothing_but_time() -> None:
    sweep = Sweep(17, "mark")
    for _ in range(5):
        sweep.saw_nothing()
    assert (sweep.over, sweep.left) == (False, [17])
    sweep._began -= 10
    sweep.saw_nothing()
    assert sweep.over


def test_a_pid_that_somebody_else_has_by_now_is_not_killed(sleeper: subprocess.Popen[bytes]) -> None:
    seen = tree._stat(sleeper.pid)
    assert seen is not None
    assert tree._killed(replace(seen, started=seen.started - 1)) is None
    assert sleeper.poll() is None
    fd = tree._killed(seen)
    assert fd is not None
    os.close(fd)
    assert sleeper.wait() == -signal.SIGKILL
    assert tree._killed(seen) is None


def test_nothing_of_a_process_that_is_gone_is_seen_and_no_sight_at_all_is_an_error(
    sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    sleeper.kill()
    sleeper.wait()
    assert tree._stat(sleeper.pid) is None
    assert tree._mark_of(sleeper.pid) == ""

    def no_room(*args: object) -> int:
        raise OSError(errno.EMFILE, "no more files")

    monkeypatch.setattr(os, "open", no_room)
    with pytest.raises(OSError, match="no more files"):
        tree._stat(os.getpid())


@pytest.mark.parametrize(
    "name", ["a b", "a) R 1 2 3", "((", ")", "\n"], ids=["space", "like a stat", "open", "close", "newline"]
)
def test_a_process_may_be_called_as_it_likes(name: str) -> None:
    code = f"import time; open('/proc/self/comm', 'w').write({name!r}); print(flush=True); time.sleep(600)"
    argv = [sys.executable, "-I", "-S", "-c", code]
    with subprocess.Popen(argv, start_new_session=True, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        seen = tree._stat(process.pid)
        process.kill()
    assert seen is not None
    assert (seen.pid, seen.parent, seen.session, seen.zombie) == (process.pid, os.getpid(), process.pid, False)
