"""A turn's changes as an app reads them: true enough to be applied again, and bounded."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clawdforge.server.workspaces import diff
from clawdforge.server.workspaces.snapshots import Changes, Snapshots
from clawdforge.wire.diffs import FileDiff
from harness import patching

MIB = 1024 * 1024

Tree = dict[str, tuple[str, str]]
"""By its path, each file's mode and text; a link's text is where it leads."""

PATHS = st.sampled_from(["a", "b", "d/a", "d/b", "e/f/g", 'o"dd', "sp ace", os.fsdecode(b"caf\xe9"), "é\n"])
FILES = st.tuples(
    st.sampled_from(["100644", "100755"]), st.sampled_from(["", "x", "x\n", "x\ny\n", "y\nx\n", "\r\n"])
)
LINKS = st.tuples(st.just("120000"), st.sampled_from(["x", "../outside", "é"]))
TREES = st.dictionaries(PATHS, st.one_of(FILES, LINKS), max_size=7)


def lay(root: Path, tree: Tree) -> None:
    for path, (mode, text) in tree.items():
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if mode == "120000":
            place.symlink_to(text)
        else:
            place.write_bytes(text.encode())
            place.chmod(int(mode[-3:], 8))


def clear(root: Path) -> None:
    for each in root.iterdir():
        shutil.rmtree(each) if each.is_dir() and not each.is_symlink() else each.unlink()


def lying(root: Path) -> Tree:
    found: Tree = {}
    for place in root.rglob("*"):
        if place.is_symlink():
            found[str(place.relative_to(root))] = ("120000", os.readlink(place))
        elif place.is_file():
            mode = "100755" if place.stat().st_mode & 0o100 else "100644"
            found[str(place.relative_to(root))] = (mode, place.read_bytes().decode())
    return found


def changed(folder: Path, before: Callable[[Path], object], after: Callable[[Path], object]) -> Changes:
    root = folder / "workspace"
    root.mkdir()
    before(root)
    snapshots = Snapshots(folder / "snapshots/one", root, 16 * MIB)
    snapshots.load(0)
    snapshots.begin(1)
    after(root)
    snapshots.end(1)
    return snapshots.changes(1)


def only(changes: Changes) -> FileDiff:
    (file,), truncated = diff.files(changes)
    assert not truncated
    return file


@settings(max_examples=60, deadline=None)
@given(TREES, TREES)
def test_all_patches_together_make_the_new_workspace_of_the_old_one(old: Tree, new: Tree) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        changes = changed(folder, lambda root: lay(root, old), lambda root: (clear(root), lay(root, new)))
        files, truncated = diff.files(changes)
        assert not truncated
        assert [each.path for each in files] == sorted(each.path for each in files)
        copy = folder / "copy"
        copy.mkdir()
        lay(copy, old)
        patching.apply(copy, "".join(each.patch or "" for each in files))
        assert lying(copy) == new


def test_each_kind_of_change_has_its_name(tmp_path: Path) -> None:
    old: Tree = {
        "gone": ("100644", "gone\n"),
        "mode": ("100644", "mode\n"),
        "text": ("100644", "text\n"),
        "from": ("100755", "moved\n"),
        "kind": ("100644", "file\n"),
        "same": ("100644", "same\n"),
    }
    new: Tree = {
        "mode": ("100755", "mode\n"),
        "text": ("100644", "other\n"),
        "to": ("100755", "moved\n"),
        "kind": ("120000", "file"),
        "same": ("100644", "same\n"),
        "new": ("100644", "new\n"),
    }
    changes = changed(tmp_path, lambda root: lay(root, old), lambda root: (clear(root), lay(root, new)))
    files, _ = diff.files(changes)
    told = {each.path: (each.change, each.old_mode, each.new_mode, each.old_size, each.new_size) for each in files}
    assert told == {
        "gone": ("deleted", "100644", None, 5, None),
        "kind": ("modified", "100644", "120000", 5, 4),
        "mode": ("mode", "100644", "100755", 5, 5),
        "new": ("added", None, "100644", None, 4),
        "text": ("modified", "100644", "100644", 5, 6),
        "to": ("renamed", "100755", "100755", 6, 6),
    }
    assert {each.path: each.old_path for each in files if each.old_path is not None} == {"to": "from"}


def test_a_copy_and_an_empty_file_are_no_renames(tmp_path: Path) -> None:
    old: Tree = {"a": ("100644", "text"), "old": ("100644", "")}
    new: Tree = {"a": ("100644", "text"), "b": ("100644", "text"), "new": ("100644", "")}
    changes = changed(tmp_path, lambda root: lay(root, old), lambda root: (clear(root), lay(root, new)))
    files, _ = diff.files(changes)
    assert [(each.path, each.change) for each in files] == [
        ("b", "added"),
        ("new", "added"),
        ("old", "deleted"),
    ]


def test_of_a_binary_file_there_is_no_patch_but_where_only_its_place_changed(tmp_path: Path) -> None:
    def before(root: Path) -> None:
        (root / "changes").write_bytes(b"\0before")
        (root / "from").write_bytes(b"\xff\xfemoved")

    def after(root: Path) -> None:
        (root / "changes").write_bytes(b"now text")
        (root / "from").rename(root / "to")

    changes_, moved = diff.files(changed(tmp_path, before, after))[0]
    assert (changes_.binary, changes_.too_large, changes_.patch) == (True, False, None)
    assert (moved.binary, moved.change) == (True, "renamed")
    assert moved.patch == "diff --git a/from b/to\nsimilarity index 100%\nrename from from\nrename to to\n"


def test_of_a_large_file_there_is_no_patch(tmp_path: Path) -> None:
    def before(root: Path) -> None:
        (root / "large").write_text("x" * MIB)

    file = only(changed(tmp_path, before, lambda root: (root / "large").write_text("y" * (MIB + 1))))
    assert (file.change, file.binary, file.too_large, file.patch) == ("modified", False, True, None)
    assert (file.old_size, file.new_size) == (MIB, MIB + 1)


def test_a_name_that_is_no_text_is_told_as_one(tmp_path: Path) -> None:
    file = only(changed(tmp_path, lambda _: None, lambda root: lay(root, {"caf\udce9": ("100644", "x\n")})))
    assert (file.path, file.encoded_path) == ("caf�", "caf%E9")
    assert file.patch is not None
    assert file.patch.startswith('diff --git "a/caf\\351" "b/caf\\351"\n')


def test_patches_have_room_in_an_answer_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diff, "PATCH_CHARACTERS", 1000)
    tree: Tree = {"a": ("100644", "x" * 500), "b": ("100644", "y" * 500), "c": ("100644", "z" * 100)}
    files, truncated = diff.files(changed(tmp_path, lambda _: None, lambda root: lay(root, tree)))
    assert [(each.patch is None, each.too_large) for each in files] == [
        (False, False),
        (True, True),
        (False, False),
    ]
    assert not truncated


def test_files_beyond_so_many_are_left_out_and_told_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diff, "FILES", 3)
    tree: Tree = {f"{number}": ("100644", f"{number}") for number in range(5)}
    files, truncated = diff.files(changed(tmp_path, lambda _: None, lambda root: lay(root, tree)))
    assert [each.path for each in files] == ["0", "1", "2"]
    assert truncated


def test_where_time_is_up_files_are_replaced_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diff, "TIME_S", 0)
    old: Tree = {"file": ("100644", "a\nb\nc\nd\n")}
    new: Tree = {"file": ("100644", "a\nB\nc\nD\n")}
    file = only(changed(tmp_path, lambda root: lay(root, old), lambda root: (clear(root), lay(root, new))))
    assert file.patch is not None
    assert file.patch.splitlines()[5:] == [" a", "-b", "-c", "-d", "+B", "+c", "+D"]
