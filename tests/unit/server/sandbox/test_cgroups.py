"""Where groups can be, as /proc tells it; and cgroup v2, played by a directory: few machines have all of it.

That groups hold real processes: tests/contract/limits.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from clawdforge.server.sandbox import cgroups
from clawdforge.server.sandbox.base import Limits
from clawdforge.server.sandbox.cgroups import NoGroups, places
from clawdforge.server.sandbox.group_v2 import GroupV2

MIB = 1024 * 1024
LIMITS = Limits(memory_bytes=64 * MIB, processes=50, cpu_cores=1.5)
ALL = frozenset({"memory", "pids", "cpu"})

V1_MOUNTS = """\
30 25 0:26 / /sys/fs/cgroup ro,nosuid shared:9 - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw shared:10 - cgroup2 cgroup2 rw,nsdelegate
35 30 0:31 / /sys/fs/cgroup/cpu,cpuacct rw shared:16 - cgroup cgroup rw,cpu,cpuacct
36 30 0:32 / /sys/fs/cgroup/pids rw shared:17 - cgroup cgroup rw,pids
37 30 0:33 / /sys/fs/cgroup/memory rw shared:18 - cgroup cgroup rw,memory
"""


def test_of_version_1_each_controller_has_its_own_directory() -> None:
    groups = "9:cpu,cpuacct:/system.slice\n8:pids:/system.slice/x.service\n7:memory:/\n0::/system.slice\n"
    found = places(groups, V1_MOUNTS)
    assert dict(found.v1) == {
        "memory": Path("/sys/fs/cgroup/memory"),
        "pids": Path("/sys/fs/cgroup/pids/system.slice/x.service"),
        "cpu": Path("/sys/fs/cgroup/cpu,cpuacct/system.slice"),
    }
    assert found.v2 == Path("/sys/fs/cgroup/unified/system.slice")


def test_of_version_2_there_is_one_directory() -> None:
    mounts = "29 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
    found = places("0::/user.slice/user@1000.service/app.slice\n", mounts)
    assert found.v1 == {}
    assert found.v2 == Path("/sys/fs/cgroup/user.slice/user@1000.service/app.slice")


@pytest.mark.parametrize("own", ["/docker/abc", "/", "/../other"])
def test_a_container_sees_no_more_than_its_own_part(own: str) -> None:
    mounts = "29 24 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n"
    assert places(f"0::{own}\n", mounts).v2 == Path("/sys/fs/cgroup")


def test_a_mount_point_may_have_a_space_in_its_name() -> None:
    mounts = "29 24 0:26 / /mnt/c\\040groups rw - cgroup2 cgroup2 rw\n"
    assert places("0::/x\n", mounts).v2 == Path("/mnt/c groups/x")


def test_where_nothing_is_mounted_nothing_is_found() -> None:
    found = places("0::/\n", "")
    assert (dict(found.v1), found.v2, found.mounts) == ({}, None, ())


# --- version 2, played -------------------------------------------------------------------------------------------

FILES = {
    "cgroup.procs": "",
    "cgroup.controllers": "cpu io memory pids",
    "cgroup.subtree_control": "",
    "memory.max": "max",
    "memory.swap.max": "max",
    "memory.oom.group": "0",
    "memory.events": "low 0\nhigh 0\nmax 7\noom 0\noom_kill 2\noom_group_kill 1\n",
    "pids.max": "max",
    "pids.events": "max 0\n",
    "cpu.max": "max 100000",
}


def furnish(directory: Path) -> None:
    for name, text in FILES.items():
        (directory / name).write_text(text)


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory in which new directories get their files at once, and go with them."""
    mkdir = Path.mkdir

    def made(path: Path, *args: object, **kwargs: object) -> None:
        there = path.exists()
        mkdir(path, *args, **kwargs)  # type: ignore[arg-type]  # as it was called
        if not there and path.is_relative_to(tmp_path):
            furnish(path)

    monkeypatch.setattr(Path, "mkdir", made)
    monkeypatch.setattr(Path, "rmdir", shutil.rmtree)
    furnish(tmp_path)
    return tmp_path


def test_limits_are_written_as_version_2_wants_them(kernel: Path) -> None:
    group = GroupV2.make("s.0", kernel, ALL, LIMITS)
    told = {name: (kernel / "s.0" / name).read_text() for name in FILES}
    assert told["memory.max"] == str(64 * MIB)
    assert told["memory.swap.max"] == "0"
    assert told["memory.oom.group"] == "1"
    assert told["pids.max"] == "50"
    assert told["cpu.max"] == "150000 100000"
    group.take(4711)
    assert group.pids() == [4711]
    assert group.reached() is None


def test_what_is_not_limited_or_not_delegated_is_left_alone(kernel: Path) -> None:
    GroupV2.make("free", kernel, ALL, Limits())
    GroupV2.make("bare", kernel, frozenset(), LIMITS)
    for name in ("free", "bare"):
        assert {each: (kernel / name / each).read_text() for each in FILES} == FILES


@pytest.mark.parametrize(
    ("file", "text", "limit"),
    [
        ("memory.events", "max 90\noom 3\noom_kill 2\noom_group_kill 1\n", "memory"),
        ("pids.events", "max 12\n", "processes"),
    ],
)
def test_what_was_met_is_read_from_the_events(kernel: Path, file: str, text: str, limit: str) -> None:
    group = GroupV2.make("s.0", kernel, ALL, LIMITS)
    (kernel / "s.0" / file).write_text(text)
    assert group.reached() == limit
    (kernel / "s.0" / file).unlink()
    assert group.reached() is None


def test_a_group_that_cannot_be_limited_is_not_left(kernel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(FILES, "pids.max")
    with pytest.raises(FileNotFoundError):
        GroupV2.make("s.0", kernel, ALL, LIMITS)
    assert not (kernel / "s.0").exists()


def test_the_gateway_moves_into_a_leaf_before_controllers_are_handed_down(kernel: Path) -> None:
    with cgroups.ExitStack() as undo:
        controllers, make = cgroups._v2(kernel, "clawdforge-id", undo)
        assert controllers == ALL
        assert (kernel / "clawdforge-gateway/cgroup.procs").read_text() == str(os.getpid())
        for each in (kernel, kernel / "clawdforge-id"):
            assert (each / "cgroup.subtree_control").read_text() == "+cpu +memory +pids"
        make("s.0", LIMITS).remove()
    assert (kernel / "cgroup.procs").read_text() == str(os.getpid())
    assert (kernel / "cgroup.subtree_control").read_text() == "-cpu -memory -pids"
    assert not [each for each in kernel.iterdir() if each.is_dir()]


def test_where_others_run_beside_the_gateway_it_goes_back_and_leaves_nothing(
    kernel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where processes are, no controllers can be handed down: the kernel says that it is busy."""
    write = cgroups.write

    def refusing(path: Path, text: str) -> None:
        if path.name == "cgroup.subtree_control":
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(path))
        write(path, text)

    monkeypatch.setattr(cgroups, "write", refusing)
    with cgroups.ExitStack() as undo, pytest.raises(OSError, match=r"busy.*cgroup\.subtree_control"):
        cgroups._v2(kernel, "clawdforge-id", undo)
    assert (kernel / "cgroup.procs").read_text() == str(os.getpid())
    assert not [each for each in kernel.iterdir() if each.is_dir()]


def test_where_no_controller_is_delegated_it_is_said(kernel: Path) -> None:
    (kernel / "cgroup.controllers").write_text("hugetlb")
    with (
        cgroups.ExitStack() as undo,
        pytest.raises(NoGroups, match="no controller of memory, pids or cpu is delegated"),
    ):
        cgroups._v2(kernel, "clawdforge-id", undo)
    assert not [each for each in kernel.iterdir() if each.is_dir()]
