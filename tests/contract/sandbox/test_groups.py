"""Groups of the kernel's own, and real processes in them. A machine that gives us none has no such test."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from clawdforge.server.sandbox import cgroups, spawning
from clawdforge.server.sandbox.base import Enclosed, Limits
from clawdforge.server.sandbox.cgroups import Cgroups, NoGroups
from clawdforge.server.sandbox.group import Group
from clawdforge.server.sandbox.group_v2 import GroupV2

MIB = 1024 * 1024
LIMITS = Limits(memory_bytes=64 * MIB, processes=20)
PIPES = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
TELL = ("/bin/cat", "/proc/self/cgroup")
# Forks what it may, each of which would fork again when another is killed, but no more than a few hundred in all.
BOMB = """
import os, sys, time
for _ in range(300):
    try:
        if os.fork() == 0:
            time.sleep(0.01)
    except BlockingIOError:
        break
print(".", flush=True)
time.sleep(600)
"""


def found() -> Cgroups | None:
    try:
        return cgroups.find(f"probe-{secrets.token_hex(4)}")
    except NoGroups:
        return None


def bare_v2() -> Path | None:
    """Where groups of version 2 can be made, if only to hold processes."""
    own = cgroups.places(Path("/proc/self/cgroup").read_text(), Path("/proc/self/mountinfo").read_text()).v2
    return own if own is not None and os.access(own / "cgroup.procs", os.W_OK) and os.geteuid() == 0 else None


def existing() -> list[str]:
    kinds = []
    if (place := found()) is not None:
        place.close()
        kinds.append("found")
    return [*kinds, *(["bare v2"] if bare_v2() is not None else [])]


KINDS = existing()


def there_are(*kinds: str) -> Callable[[Any], Any]:
    """A test for those that there are; none where there are none."""
    chosen = [kind for kind in kinds if kind in KINDS]
    return pytest.mark.parametrize("make", chosen, indirect=True) if chosen else lambda _: None


@pytest.fixture
def make(request: pytest.FixtureRequest) -> Iterator[Callable[[], Group]]:
    made: list[Group] = []
    name = f"test-{secrets.token_hex(4)}"
    place = cgroups.find(name) if request.param == "found" else None

    def group() -> Group:
        if place is not None:
            made.append(place.make("sess", LIMITS))
        else:
            parent = bare_v2()
            assert parent is not None
            made.append(GroupV2.make(f"{name}.{len(made)}", parent, frozenset(), LIMITS))
        return made[-1]

    yield group
    for each in made:
        each.kill()
        each.remove()
    if place is not None:
        place.close()


def start(group: Group, *argv: str) -> subprocess.Popen[bytes]:
    return spawning.popen(Enclosed(argv, {}, Path("/")), group, **PIPES)


@there_are("found", "bare v2")
def test_a_program_is_in_its_group_when_it_begins_and_its_starter_is_not(make: Callable[[], Group]) -> None:
    group, other = make(), make()
    before = Path("/proc/thread-self/cgroup").read_text()
    with start(group, *TELL) as started:
        told = started.communicate()[0].decode()
    assert told != before
    assert Path("/proc/thread-self/cgroup").read_text() == before
    with start(other, *TELL) as started:
        assert started.communicate()[0].decode() not in (told, before)


@there_are("found", "bare v2")
def test_what_it_is_given_to_read_is_whole(make: Callable[[], Group]) -> None:
    with start(make(), "/bin/cat") as started:
        assert started.communicate(b"\nfirst\nsecond")[0] == b"\nfirst\nsecond"


@there_are("found", "bare v2")
def test_a_program_that_is_not_there_leaves_nothing(make: Callable[[], Group]) -> None:
    group = make()
    try:
        with start(group, "/no/such/program") as started:
            assert started.wait(30) == 127  # a shell that held it back has said so
    except FileNotFoundError:
        pass
    assert group.pids() == []


HOG = "held = bytearray(b'x') * (200 << 20); print('.', flush=True); import time; time.sleep(600)"


@there_are("found")
def test_what_a_group_lacks_is_told_of_it(make: Callable[[], Group]) -> None:
    group = make()
    with start(group, sys.executable, "-I", "-S", "-c", HOG) as started:
        assert started.wait(30) == -9
    assert group.reached() == "memory"


@there_are("found")
def test_what_a_group_above_lacks_is_not_told_of_it(make: Callable[[], Group]) -> None:
    """As where the unit or the container of the gateway is full: then it is no session's doing."""
    name = f"above-{secrets.token_hex(4)}"
    place = cgroups.find(name)
    group = place.make("sess", Limits(memory_bytes=1 << 30, processes=1000))
    for folder, names, _ in os.walk("/sys/fs/cgroup"):
        for limit, text in (("memory.limit_in_bytes", str(64 * MIB)), ("pids.max", "10")):
            if f"clawdforge-{name}" in names and (path := Path(folder, f"clawdforge-{name}", limit)).exists():
                path.write_text(text)
    with start(group, sys.executable, "-I", "-S", "-c", HOG) as started:
        assert started.wait(30) == -9
    with start(group, sys.executable, "-I", "-S", "-c", BOMB) as started:
        assert started.stdout is not None
        assert started.stdout.read(1) == b"."
        assert not group.alarmed()
        assert group.reached() is None
        group.kill()
    group.remove()
    place.close()


@there_are("found")
def test_a_bomb_is_bounded_and_killed_to_the_last(make: Callable[[], Group]) -> None:
    group = make()
    with start(group, sys.executable, "-I", "-S", "-c", BOMB) as started:
        assert started.stdout is not None
        assert started.stdout.read(1) == b"."
        assert 1 < len(group.pids()) <= 20
        assert group.reached() == "processes"
        group.kill()
        assert group.pids() == []


@there_are("bare v2")
def test_all_that_is_in_a_group_is_killed_also_where_nothing_bounds_it(make: Callable[[], Group]) -> None:
    group = make()
    script = "for each in 1 2 3 4 5 6 7 8; do setsid sleep 600 & done; echo; wait"
    with start(group, "/bin/sh", "-c", script) as started:
        assert started.stdout is not None
        assert started.stdout.read(1) == b"\n"
        assert len(group.pids()) >= 9
        group.kill()
        assert group.pids() == []


@there_are("found")
def test_many_threads_start_at_once_each_in_its_own_group(make: Callable[[], Group]) -> None:
    groups = [make() for _ in range(12)]

    def told(group: Group) -> str:
        with start(group, *TELL) as started:
            return started.communicate()[0].decode()

    with ThreadPoolExecutor(6) as threads:
        assert len(set(threads.map(told, groups))) == len(groups)


@there_are("found")
def test_what_an_earlier_life_left_is_ended_and_removed(make: Callable[[], Group]) -> None:
    name = f"left-{secrets.token_hex(4)}"
    earlier = cgroups.find(name)
    group = earlier.make("sess", LIMITS)
    with start(group, "/bin/cat") as left:
        later = cgroups.find(name)
        assert later.ended == (left.pid,)
        assert left.wait(30) == -9
    for each in (group.remove, earlier.close, later.close):
        each()
    assert not [each for each, names, _ in os.walk("/sys/fs/cgroup") if f"clawdforge-{name}" in names]
