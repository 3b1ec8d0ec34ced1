"""What an earlier life of a gateway has left, and what it has not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from clawdforge.server.agents import leftovers, marks
from harness.stand import AGENT_UID, ROOT, USER_UID

GATEWAY = f"life-{os.getpid()}"
AGENTS = AGENT_UID if ROOT else os.getuid()
"""Who agents are; an ordinary user's tests know no other than their own."""


class Crowd:
    """Processes that wait, by what they are called in the test."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._all: dict[str, subprocess.Popen[bytes]] = {}

    def add(self, name: str, *argv: str, uid: int = AGENTS, **options: object) -> None:
        who = {"user": uid, "group": uid, "extra_groups": []} if ROOT else {}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        process = self._stack.enter_context(
            subprocess.Popen(argv or ["cat"], start_new_session=True, **pipes, **who, **options)  # type: ignore[call-overload]
        )
        self._stack.callback(process.kill)
        process.stdin.write(b".")
        process.stdin.flush()
        assert process.stdout.read(1) == b"."
        self._all[name] = process

    def left(self) -> set[str]:
        return {name for name, process in self._all.items() if process.poll() is None}

    def pids(self, *names: str) -> list[int]:
        return sorted(self._all[name].pid for name in names)


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    with ExitStack() as stack:
        yield Crowd(stack)


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """One that other users may pass."""
    path = Path(tempfile.mkdtemp(prefix="leftovers-", dir="/var/tmp"))
    path.chmod(0o755)
    (path / "workspaces").mkdir()
    yield path
    shutil.rmtree(path)


def test_marks_tell_a_leftover_wherever_it_is(crowd: Crowd) -> None:
    crowd.add("by its environment", env={marks.VARIABLE: f"{GATEWAY}:sess_1"})
    with marks.worn(marks.number(GATEWAY, 1)):
        crowd.add("by its number", env={}, cwd="/")
    with marks.worn(marks.number("another", 1)):
        crowd.add("another gateway's", env={marks.VARIABLE: "another:sess_1"})
    crowd.add("nobody's", env={})
    ended = leftovers.end(GATEWAY, [], None)
    assert ended == crowd.pids("by its environment", "by its number")
    assert crowd.left() == {"another gateway's", "nobody's"}
    assert leftovers.end(GATEWAY, [], None) == []


def test_agents_are_found_by_their_place_where_they_are_a_user_of_their_own(crowd: Crowd, data_dir: Path) -> None:
    workspaces = data_dir / "workspaces"
    program = Path(shutil.copy(shutil.which("cat") or "/bin/cat", workspaces / "program"))
    program.chmod(0o755)
    beside = data_dir / "workspaces-of-others"
    beside.mkdir()
    crowd.add("in it", cwd=workspaces)
    crowd.add("from it", str(program), cwd="/")
    with (workspaces / "file").open("w") as file:
        crowd.add("with a file of it", cwd="/", pass_fds=[file.fileno()])
    crowd.add("elsewhere", cwd=beside)
    if ROOT:
        crowd.add("of another user", cwd=workspaces, uid=USER_UID)
    assert leftovers.end(GATEWAY, [workspaces], None) == []
    ended = leftovers.end(GATEWAY, [workspaces], AGENTS)
    assert ended == crowd.pids("in it", "from it", "with a file of it")
    assert crowd.left() == {"elsewhere", *(["of another user"] if ROOT else [])}


def test_a_gateway_that_an_agent_has_started_ends_neither_itself_nor_that_agent() -> None:
    code = (
        "import subprocess, sys\n"
        "from clawdforge.server.agents import leftovers\n"
        f"beside = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
        f"assert leftovers.end({GATEWAY!r}, [], None) == [beside.pid]\n"
        "beside.wait()\n"
    )
    run = f"import subprocess, sys; sys.exit(subprocess.run([sys.executable, '-c', {code!r}]).returncode)"
    with marks.worn(marks.number(GATEWAY, 1)):
        agent = subprocess.Popen([sys.executable, "-c", run], env={**os.environ, marks.VARIABLE: f"{GATEWAY}:s"})
    with agent:
        assert agent.wait(timeout=60) == 0
