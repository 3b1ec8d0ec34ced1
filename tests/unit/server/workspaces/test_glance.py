"""What a glance at a workspace sees, and what it leaves to a look."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from clawdforge.server.workspaces import glance, survey
from clawdforge.server.workspaces.survey import Manifest


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    return root


@pytest.fixture(autouse=True)
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks come long after what they look at has changed, as they do where nobody waits."""
    now = survey.time.time_ns
    monkeypatch.setattr(survey.time, "time_ns", lambda: now() + 10**9)


def looked(root: Path) -> Manifest:
    return survey.look(root, Manifest(), lambda *_: True)


CHANGES: dict[str, Callable[[Path], object]] = {
    "content": lambda root: (root / "a/file").write_text("other"),
    "mode": lambda root: (root / "a/file").chmod(0o755),
    "gone": lambda root: (root / "a/file").unlink(),
    "new": lambda root: (root / "a/new").write_text("text"),
    "new far below": lambda root: ((root / "x/y").mkdir(parents=True), (root / "x/y/z").write_text("text")),
    "new link": lambda root: (root / "link").symlink_to("a"),
    "moved": lambda root: (root / "a/file").rename(root / "file"),
    "replaced": lambda root: ((root / "a/new").write_text("text"), (root / "a/new").rename(root / "a/file")),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_glance_sees_whatever_changed(root: Path, what: str) -> None:
    (root / "a").mkdir()
    (root / "a/file").write_text("text")
    before = looked(root)
    assert glance.unchanged(root, before)
    CHANGES[what](root)
    assert not glance.unchanged(root, before)


def test_a_glance_passes_over_what_a_look_passes_over(root: Path) -> None:
    (root / "file").write_text("text")
    before = looked(root)
    (root / "empty").mkdir()
    (root / ".git").mkdir()
    (root / ".git/HEAD").write_text("ref")
    os.mkfifo(root / "pipe")
    assert glance.unchanged(root, before)


def test_a_glance_leaves_what_takes_longer_to_a_look(root: Path) -> None:
    (root / "file").write_text("text")
    before = looked(root)
    for number in range(100):
        (root / f"d{number}").mkdir()
    assert not glance.unchanged(root, before)
    assert not glance.unchanged(root, dataclasses.replace(before, unseen=frozenset({"d1"})))
    for number in range(100):
        (root / f"d{number}").rmdir()
        (root / f"f{number}").write_text("text")
    assert not glance.unchanged(root, looked(root))


def test_a_glance_does_not_list_what_was_a_wide_directory(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may take long to find that there is nothing in it any more."""
    (root / "wide").mkdir()
    before = looked(root)
    assert glance.unchanged(root, before)
    monkeypatch.setattr(glance, "_LISTED_BYTES", (root / "wide").stat().st_size - 1)
    assert not glance.unchanged(root, before)


def test_what_may_have_changed_unseen_is_not_left_to_a_glance(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    (root / "file").write_text("text")
    assert not glance.unchanged(root, looked(root))
