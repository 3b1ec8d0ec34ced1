"""What a thread gives up is its own, and what it starts is in its hands."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from clawdforge.server.sandbox import restrict


@pytest.fixture
def thread() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as made:
        yield made


@pytest.fixture
def outsider() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as made:
        yield made


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "600"])


def reaches(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return False
    return True


def test_a_scoped_thread_and_what_it_starts_signal_nobody_outside(
    thread: ThreadPoolExecutor, outsider: subprocess.Popen[bytes]
) -> None:
    scoped = thread.submit(restrict.scope_this_thread).result()
    assert scoped == (restrict.abi() >= restrict.SCOPES_SINCE)
    assert thread.submit(reaches, outsider.pid).result() is not scoped
    started = thread.submit(subprocess.run, ["sh", "-c", f"kill -0 {outsider.pid}"], stderr=subprocess.DEVNULL)
    assert (started.result().returncode != 0) is scoped
    assert reaches(outsider.pid), "the other threads are free"


def test_what_a_scoped_thread_started_is_ended_by_it_and_by_others(thread: ThreadPoolExecutor) -> None:
    thread.submit(restrict.scope_this_thread).result()
    for ender in (thread.submit, lambda call, *arguments: call(*arguments)):
        with thread.submit(sleeper).result() as started:
            ender(os.kill, started.pid, signal.SIGKILL)
            assert started.wait(timeout=60) == -signal.SIGKILL


def test_a_scoped_thread_reads_and_writes_as_before(thread: ThreadPoolExecutor) -> None:
    thread.submit(restrict.scope_this_thread).result()
    assert thread.submit(os.listdir, "/").result() == os.listdir("/")


def test_a_wall_is_taken_within_another(thread: ThreadPoolExecutor, outsider: subprocess.Popen[bytes]) -> None:
    """As when the thread that starts sessions was scoped, or an agent walls in what it starts itself."""
    for _ in range(3):
        thread.submit(restrict.scope_this_thread).result()
    with thread.submit(sleeper).result() as started:
        assert thread.submit(reaches, started.pid).result()
        started.kill()


def test_a_kernel_without_scopes_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restrict, "abi", lambda: restrict.SCOPES_SINCE - 1)
    assert restrict.scope_this_thread() is False
