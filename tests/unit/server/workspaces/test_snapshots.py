"""What turns changed: kept beside a workspace, over lives of the gateway, within bounds."""

from __future__ import annotations

import errno
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from clawdforge.server.workspaces import survey
from clawdforge.server.workspaces.snapshots import Changes, Dropped, Snapshots
from clawdforge.server.workspaces.survey import USUAL, Limits

MIB = 1024 * 1024


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "workspaces/sess_a"
    root.mkdir(parents=True)
    return root


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "snapshots/sess_a"


def opened(
    place: Path, root: Path, last_begun: int = 0, limit_bytes: int = MIB, limits: Limits = USUAL
) -> Snapshots:
    """The snapshots as a life of the gateway finds them."""
    snapshots = Snapshots(place, root, limit_bytes, limits)
    snapshots.load(last_begun)
    return snapshots


@pytest.fixture
def snapshots(place: Path, root: Path) -> Snapshots:
    return opened(place, root)


def told(changes: Changes) -> dict[str, tuple[str | None, str | None]]:
    """The texts before and after, by the paths; None where there is no file, and where a text is not known."""
    sides = {each.path: (each.old, each.new) for each in changes.files}
    return {
        path: tuple(None if side is None or side.sha256 is None else changes.text(side.sha256) for side in both)
        for path, both in sides.items()
    }  # type: ignore[return-value]  # a tuple of two stays one


def turn(snapshots: Snapshots, index: int, change: Callable[[], object]) -> None:
    snapshots.begin(index)
    change()
    snapshots.end(index)


def test_a_turn_s_own_changes_are_told(snapshots: Snapshots, root: Path) -> None:
    (root / "stays").write_text("stays")
    (root / "changes").write_text("before")
    (root / "goes").write_text("goes")

    def change() -> None:
        (root / "changes").write_text("after")
        (root / "goes").unlink()
        (root / "new").mkdir()
        (root / "new/comes").write_text("")

    turn(snapshots, 1, change)
    (root / "between").write_text("turns")
    turn(snapshots, 2, lambda: None)
    turn(snapshots, 3, lambda: (root / "changes").write_text("again"))
    assert told(snapshots.changes(1)) == {
        "changes": ("before", "after"),
        "goes": ("goes", None),
        "new/comes": (None, ""),
    }
    assert told(snapshots.changes(2)) == {}
    assert told(snapshots.changes(3)) == {"changes": ("after", "again")}


def test_a_turn_that_changed_nothing_stores_nothing(snapshots: Snapshots, root: Path, place: Path) -> None:
    (root / "file").write_text("text")
    turn(snapshots, 1, lambda: None)
    stored = {
        path: path.stat().st_mtime_ns for path in place.rglob("*") if path.is_file() and path.name != "turns"
    }
    assert {path.name for path in stored if path.parent == place} == {"manifest"}
    for index in range(2, 20):
        turn(snapshots, index, lambda: (root / "file").write_text("text"))
    assert {
        path: path.stat().st_mtime_ns for path in place.rglob("*") if path.is_file() and path.name != "turns"
    } == stored
    assert (place / "turns").stat().st_size < 100


def test_a_turn_that_runs_is_told_so_far_and_keeps_nothing(snapshots: Snapshots, root: Path, place: Path) -> None:
    (root / "file").write_text("before")
    snapshots.begin(1)
    stored = sorted(place.rglob("*"))
    (root / "file").write_text("so far")
    (root / "empty").write_text("")
    assert told(snapshots.so_far(1)) == {"file": ("before", "so far"), "empty": (None, "")}
    assert sorted(place.rglob("*")) == stored
    (root / "empty").unlink()
    snapshots.end(1)
    assert told(snapshots.changes(1)) == {"file": ("before", "so far")}


def test_another_life_of_the_gateway_tells_the_same(snapshots: Snapshots, root: Path, place: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    turn(snapshots, 1, lambda: (root / name).write_text("one\n"))
    turn(snapshots, 2, lambda: (root / name).write_text("two\n"))
    later = opened(place, root, 2)
    assert told(later.changes(1)) == {name: (None, "one\n")}
    turn(later, 3, lambda: (root / name).unlink())
    assert told(later.changes(3)) == {name: ("two\n", None)}
    assert not later.changes(3).late


@pytest.mark.parametrize("found_by", ["a look", "the next turn"])
def test_a_turn_whose_gateway_was_killed_ends_where_it_is_looked_at_again(
    snapshots: Snapshots, root: Path, place: Path, found_by: str
) -> None:
    snapshots.begin(1)
    (root / "half").write_text("done")
    later = opened(place, root, 1)
    if found_by == "the next turn":
        turn(later, 2, lambda: (root / "half").write_text("all"))
        assert told(later.changes(2)) == {"half": ("done", "all")}
    changes = later.changes(1)
    assert told(changes) == {"half": (None, "done")}
    assert changes.late


def test_turns_that_never_began_have_no_part_in_it(snapshots: Snapshots, root: Path, place: Path) -> None:
    turn(snapshots, 1, lambda: (root / "a").write_text("1"))
    snapshots.begin(2)
    (root / "a").write_text("2")
    later = opened(place, root, 2)
    later.begin(5)
    assert [told(later.changes(index)) for index in (1, 2, 3, 4)] == [
        {"a": (None, "1")},
        {"a": ("1", "2")},
        {},
        {},
    ]


def test_turns_from_before_there_were_snapshots_are_dropped(place: Path, root: Path) -> None:
    (root / "file").write_text("text")
    snapshots = opened(place, root, 7)
    for index in (1, 7):
        with pytest.raises(Dropped):
            snapshots.changes(index)
    turn(snapshots, 8, lambda: (root / "file").write_text("more"))
    assert told(snapshots.changes(8)) == {"file": ("text", "more")}


def test_what_the_oldest_turns_changed_goes_first(place: Path, root: Path) -> None:
    snapshots = opened(place, root, limit_bytes=40 * 4096)
    for index in range(1, 51):
        turn(snapshots, index, lambda index=index: (root / "file").write_text(f"turn {index}\n"))  # type: ignore[misc]
    assert told(snapshots.changes(50)) == {"file": ("turn 49\n", "turn 50\n")}
    with pytest.raises(Dropped):
        snapshots.changes(1)
    assert sum(path.stat().st_blocks * 512 for path in place.rglob("*") if path.is_file()) < 45 * 4096
    later = opened(place, root, 50, 40 * 4096)
    with pytest.raises(Dropped):
        later.changes(1)
    assert told(later.changes(45)) == {"file": ("turn 44\n", "turn 45\n")}


def test_a_workspace_that_is_too_large_to_be_kept_is_told_without_texts(place: Path, root: Path) -> None:
    for number in range(20):
        (root / f"{number}").write_text(f"{number} before")
    snapshots = opened(place, root, limit_bytes=10 * 4096)
    turn(snapshots, 1, lambda: [(root / f"{number}").write_text("after") for number in range(20)])
    changes = snapshots.changes(1)
    assert len(changes.files) == 20
    assert all(each.old is not None and each.new is not None for each in changes.files)
    assert {each.old.content for each in changes.files if each.old is not None} == {"kept", "unkept"}
    assert sum(path.stat().st_size for path in (place / "objects").iterdir()) < 10 * 4096


def test_what_was_not_looked_at_is_neither_new_nor_gone(place: Path, root: Path) -> None:
    snapshots = opened(place, root, limits=Limits(entries=10))
    (root / "near").write_text("near")
    (root / "far").mkdir()
    for number in range(5):
        (root / f"far/{number}").write_text("text")

    def change() -> None:
        (root / "near").write_text("nearer")
        for number in range(5, 20):
            (root / f"far/{number}").write_text("text")

    turn(snapshots, 1, change)
    assert told(snapshots.changes(1)) == {"near": ("near", "nearer")}
    assert snapshots.changes(1).truncated
    turn(snapshots, 2, lambda: shutil.rmtree(root / "far"))
    assert told(snapshots.changes(2)) == {}
    turn(snapshots, 3, lambda: None)
    assert not snapshots.changes(3).truncated


@contextmanager
def no_room() -> Iterator[None]:
    """Nothing can be written, whoever tries."""
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, usual[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)


def test_a_full_disk_costs_texts_and_no_turn(
    snapshots: Snapshots, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    turn(snapshots, 1, lambda: (root / "file").write_text("one"))
    snapshots.begin(2)
    (root / "file").write_text("two")
    with no_room():
        snapshots.end(2)
    assert "cannot be stored" in caplog.text
    with pytest.raises(Dropped):
        snapshots.changes(2)
    turn(snapshots, 3, lambda: (root / "file").write_text("three"))
    assert told(snapshots.changes(3))["file"][1] == "three"
    turn(snapshots, 4, lambda: (root / "file").write_text("four"))
    assert told(snapshots.changes(4)) == {"file": ("three", "four")}


def test_a_workspace_that_cannot_be_looked_into_costs_that_turn(
    snapshots: Snapshots, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as shut:

        def refused(*_: object, **__: object) -> int:
            raise OSError(errno.EMFILE, "too many open files")

        shut.setattr(survey.beneath, "directory", refused)
        snapshots.begin(1)
    (root / "file").write_text("text")
    with pytest.raises(Dropped):
        snapshots.so_far(1)
    snapshots.end(1)
    with pytest.raises(Dropped):
        snapshots.changes(1)
    turn(snapshots, 2, lambda: (root / "file").write_text("more"))
    assert told(snapshots.changes(2)) == {"file": ("text", "more")}


@pytest.mark.parametrize("damage", ["turns", "manifest", "1", "objects"])
def test_what_is_damaged_is_not_taken_for_the_truth(
    snapshots: Snapshots, root: Path, place: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    turn(snapshots, 1, lambda: (root / "file").write_text("text"))
    for file in (place / damage).iterdir() if damage == "objects" else [place / damage]:
        file.write_text("[]\n[]\nnonsense")
    later = opened(place, root, 1)
    if damage == "objects":
        assert told(later.changes(1)) == {"file": (None, None)}
    else:
        with pytest.raises(Dropped):
            later.changes(1)
        assert caplog.text
    turn(later, 2, lambda: (root / "file").write_text("more"))
    assert set(told(later.changes(2))) == {"file"}


def test_half_of_a_text_is_written_anew(snapshots: Snapshots, root: Path, place: Path) -> None:
    turn(snapshots, 1, lambda: (root / "file").write_text("text"))
    (text,) = (place / "objects").iterdir()
    text.write_text("te")
    turn(snapshots, 2, lambda: (root / "other").write_text("text"))
    assert told(snapshots.changes(2)) == {"other": (None, "text")}


def test_snapshots_are_for_the_gateway_s_eyes(snapshots: Snapshots, root: Path, place: Path) -> None:
    turn(snapshots, 1, lambda: (root / "file").write_text("text"))
    assert {path.stat().st_mode & 0o777 for path in (place.parent, place)} == {0o700}
