"""Processes as /proc shows them: whatever they are called, gone or reused."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from clawdforge.server.agents import proc


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    argv = [sys.executable, "-I", "-S", "-c", "import time; print(flush=True); time.sleep(600)"]
    with subprocess.Popen(argv, start_new_session=True, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_a_pid_that_somebody_else_has_by_now_is_not_killed(sleeper: subprocess.Popen[bytes]) -> None:
    seen = proc.stat_of(sleeper.pid)
    assert seen is not None
    assert proc.sent(replace(seen, started=seen.started - 1), signal.SIGKILL) is None
    assert sleeper.poll() is None
    fd = proc.sent(seen, signal.SIGKILL)
    assert fd is not None
    os.close(fd)
    assert sleeper.wait() == -signal.SIGKILL
    assert proc.sent(seen, signal.SIGKILL) is None


def test_nothing_of_a_process_that_is_gone_is_seen_and_no_sight_at_all_is_an_error(
    sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    sleeper.kill()
    sleeper.wait()
    assert proc.stat_of(sleeper.pid) is None
    assert proc.variable(sleeper.pid, "HOME") == ""

    def no_room(*args: object) -> int:
        raise OSError(errno.EMFILE, "no more files")

    monkeypatch.setattr(os, "open", no_room)
    with pytest.raises(OSError, match="no more files"):
        proc.stat_of(os.getpid())


@pytest.mark.parametrize(
    "name", ["a b", "a) R 1 2 3", "((", ")", "\n"], ids=["space", "like a stat", "open", "close", "newline"]
)
def test_a_process_may_be_called_as_it_likes(name: str) -> None:
    code = f"import time; open('/proc/self/comm', 'w').write({name!r}); print(flush=True); time.sleep(600)"
    argv = [sys.executable, "-I", "-S", "-c", code]
    with subprocess.Popen(argv, start_new_session=True, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        seen = proc.stat_of(process.pid)
        process.kill()
    assert seen is not None
    assert (seen.pid, seen.parent, seen.session, seen.zombie) == (process.pid, os.getpid(), process.pid, False)


@pytest.mark.parametrize("told", [True, False], ids=["by the kernel's list", "by a look at all"])
def test_children_are_those_of_now(
    sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    assert proc._tells_children()
    monkeypatch.setattr(proc, "_tells_children", lambda: told)
    assert sleeper.pid in proc.children(os.getpid())
    sleeper.kill()
    sleeper.wait()
    assert sleeper.pid not in proc.children(os.getpid())
    assert proc.children(sleeper.pid) == []
