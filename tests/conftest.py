"""What all tests share: where things are, and the check that no test leaves anything behind.

What is asked for and missing fails with a sentence; nothing here skips a test.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

from clawdforge.local_agent import weights
from clawdforge.server.agents.tree import adopt_orphans

LEFTOVERS_END_WITHIN_S = 10.0

# A shell's background job ignores it, and so would what the tests start: Ctrl-C would do nothing there.
signal.signal(signal.SIGINT, signal.default_int_handler)

Left = TypeVar("Left", set[int], dict[int, str])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest is not left for the end, when there is nothing more to do beside it."""
    items.sort(key=lambda item: item.get_closest_marker("longest") is None)


@pytest.fixture(scope="session")
def repo_root() -> Path:
    """The checkout."""
    return Path(__file__).parents[1]


@pytest.fixture(scope="session")
def node_agents(repo_root: Path) -> Path:
    """The directory of the pinned agents' programs: claude-agent-acp, codex-acp and gemini."""
    installed = repo_root / ".cache/agents/pinned/installed"
    if not installed.exists():
        pytest.fail(f"the agents of the tests are not installed ({installed}). Run: make test", pytrace=False)
    return installed.parent / "node_modules/.bin"


@pytest.fixture(scope="session")
def model_weights(repo_root: Path) -> Path:
    """The file of the embedded model's weights."""
    folder = repo_root / ".cache/models"
    file = weights.installed(folder)
    if file is None:
        pytest.fail(f"the embedded model's weights are not in {folder}. Run: make test", pytrace=False)
    return file


@pytest.fixture(scope="session")
def expected_children() -> set[int]:
    """Add the pid of a child that outlives the test which starts it, and remove it when the child has ended.

    Only what a test starts late needs this: wider fixtures that are there before the test begins are known.
    """
    # Descendants whose own parents die become our children, so that none is out of sight.
    adopt_orphans()
    return set()


@pytest.fixture(scope="session")
def lasting_ports() -> set[int]:
    """Add the port of an endpoint that outlives a test: connections with it come and go as they like."""
    return set()


@pytest.fixture(autouse=True)
def nothing_left(
    request: pytest.FixtureRequest, expected_children: set[int], lasting_ports: set[int]
) -> Iterator[None]:
    """Fails a test that leaves a process, an open file or socket, or a pending task.

    Being automatic it is set up before a test's own fixtures, so it looks after all of them are gone.
    """
    if inspect.iscoroutinefunction(request.function):
        request.getfixturevalue("no_task_left")
    children, files = _children(), _open_files()
    yield
    left_children = _until_empty(lambda: set(filter(_running, _children() - children - expected_children)))
    left_files = _until_empty(lambda: _more(files, _open_files(), lasting_ports))
    if left_children or left_files:
        told = [f"process {pid}: {_end(pid)}" for pid in sorted(left_children)]
        told += [f"file {number}: {target}" for number, target in sorted(left_files.items())]
        pytest.fail("the test left behind\n  " + "\n  ".join(told), pytrace=False)


@pytest.fixture
async def no_task_left() -> AsyncIterator[None]:
    """Fails an asynchronous test that leaves a task in its loop, which would be cancelled without a word."""
    yield
    pending = asyncio.all_tasks() - {asyncio.current_task()}
    if pending:
        _, pending = await asyncio.wait(pending, timeout=LEFTOVERS_END_WITHIN_S)
    if pending:
        pytest.fail("the test left tasks\n  " + "\n  ".join(map(repr, pending)), pytrace=False)


def _until_empty(look: Callable[[], Left]) -> Left:
    """What is left when time is up. Threads and the kernel may need a moment to end what a test has given up."""
    if not (left := look()):
        return left
    # A caught exception often keeps its frames, and all they hold, in a cycle. What should have been closed and
    # was not then still fails the test, by a ResourceWarning.
    gc.collect()
    deadline = time.monotonic() + LEFTOVERS_END_WITHIN_S
    while (left := look()) and time.monotonic() < deadline:
        time.sleep(0.005)
    return left


def _children() -> set[int]:
    pids: set[int] = set()
    for thread in os.listdir("/proc/self/task"):
        with suppress(FileNotFoundError), open(f"/proc/self/task/{thread}/children") as children:
            pids.update(map(int, children.read().split()))
    return pids


def _running(pid: int) -> bool:
    """Whether a child of ours still runs. A zombie is reaped: adopted orphans have nobody else who would."""
    try:
        return os.waitpid(pid, os.WNOHANG) == (0, 0)
    except ChildProcessError:
        return False


def _open_files() -> dict[int, str]:
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return found


def _more(before: dict[int, str], now: dict[int, str], lasting_ports: set[int]) -> dict[int, str]:
    """The new ones, if there are more than before: a log that was opened anew is no leak."""
    if len(now) <= len(before):
        return {}
    new = {number: target for number, target in now.items() if before.get(number) != target}
    sockets = [number for number, target in new.items() if target.startswith("socket:")]
    lasting = {number for number in sockets if not lasting_ports.isdisjoint(_ports(number))}
    if len(now) - len(lasting) <= len(before):
        return {}
    return {number: target for number, target in new.items() if number not in lasting}


def _ports(number: int) -> set[int]:
    """The ports of a socket's ends: none of one that has none, or was closed meanwhile."""
    found: set[int] = set()
    with suppress(OSError), socket.fromfd(number, socket.AF_INET, socket.SOCK_STREAM) as copy:
        for end in (copy.getsockname, copy.getpeername):  # who only listens has no second one
            if isinstance(name := end(), tuple):
                found.add(name[1])
    return found


def _end(pid: int) -> str:
    """Ends a leftover, so that no other test meets it. Returns what it was."""
    try:
        process = psutil.Process(pid)
        what = f"{process.status()} {' '.join(process.cmdline())}"
        process.send_signal(signal.SIGKILL)
        process.wait(LEFTOVERS_END_WITHIN_S)
    except psutil.Error as error:
        return f"gone by now ({error})"
    return what
