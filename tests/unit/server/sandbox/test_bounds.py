"""Which limits a group keeps, which are left to others, and what cannot be kept at all."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from clawdforge.server.sandbox import bounds, cgroups
from clawdforge.server.sandbox.base import Limits, WallUnavailable
from clawdforge.server.sandbox.bounds import Bounds
from clawdforge.server.sandbox.cgroups import Cgroups, NoGroups
from clawdforge.server.sandbox.group import Controller, Group

LIMITS = Limits(
    memory_bytes=1, processes=2, cpu_cores=3, open_files=4, file_bytes=5, tmp_bytes=6, workspace_bytes=7
)


def kept_by(*controllers: Controller) -> Cgroups:
    def make(_: str, __: Limits) -> Group:
        raise OSError("no group is made here")

    return Cgroups(frozenset(controllers), (), make, ExitStack())


def no_groups(_: str) -> Cgroups:
    raise NoGroups("Permission denied: /sys/fs/cgroup/pids/tasks")


def test_what_no_group_keeps_is_left_to_others() -> None:
    assert Bounds(LIMITS).rest == LIMITS
    assert Bounds(LIMITS, kept_by("pids")).rest == Limits(1, None, 3, 4, 5, 6, 7)
    assert Bounds(LIMITS, kept_by("memory", "pids", "cpu")).rest == Limits(None, None, None, 4, 5, 6, 7)


def test_without_groups_there_is_none_for_a_session() -> None:
    assert Bounds(LIMITS).group("sess_1") is None
    assert Bounds(LIMITS).left == ()


def test_without_groups_the_rest_is_kept_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "find", no_groups)
    limits = Limits(memory_bytes=1, processes=2)
    assert bounds.find(limits, "id") == Bounds(limits)


def test_processors_cannot_be_bounded_without_a_group_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "find", no_groups)
    with pytest.raises(WallUnavailable, match=r"agent_cpu_cores.*Permission denied: /sys.*Delegate=yes"):
        bounds.find(LIMITS, "id")


def test_a_group_without_that_controller_is_of_no_help_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "find", lambda _: kept_by("memory", "pids"))
    with pytest.raises(WallUnavailable, match="that controller is missing"):
        bounds.find(LIMITS, "id")
    assert bounds.find(Limits(memory_bytes=1), "id").rest == Limits()
