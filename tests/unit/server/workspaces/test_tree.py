"""Pages of what lies in a workspace: in order, nothing twice, nothing left out, nothing from elsewhere."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clawdforge.server.workspaces import openat2, tree
from clawdforge.wire.problems import Problem
from harness.swapping import swapping

NO_SUCH_CALL = 9_999
MANY = 1_000_000
NAMES = st.text(st.sampled_from("ab.é\U0001f600\n"), min_size=1, max_size=3).filter(
    lambda name: name not in (".", "..")
)
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)


@pytest.fixture(params=["kernel", "steps"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "steps":
        monkeypatch.setattr(openat2, "_NUMBER", NO_SUCH_CALL)


def everything(root: Path, path: str = "", limit: int = 1000, *, recursive: bool = True) -> list[str]:
    """All pages, one after the other."""
    found: list[str] = []
    after = None
    while True:
        page = tree.listed(root, path, after, limit, recursive=recursive)
        assert len(page.entries) <= limit
        found += [each.path for each in page.entries]
        if not page.more:
            return found
        after = found[-1]


def in_order(paths: set[str]) -> list[str]:
    return sorted(paths, key=lambda path: path.split("/"))


@pytest.mark.usefixtures("way")
def test_each_entry_is_told_for_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("12345")
    (tmp_path / "link").symlink_to("/etc")
    os.mkfifo(tmp_path / "pipe")
    page = tree.listed(tmp_path, "", None, 10, recursive=True)
    assert [(each.path, each.kind) for each in page.entries] == [
        ("file", "file"),
        ("folder", "directory"),
        ("link", "symlink"),
        ("pipe", "other"),
    ]
    assert page.entries[0].size == 5
    assert page.entries[0].modified_at == int((tmp_path / "file").stat().st_mtime)


@given(paths=st.sets(PATHS, max_size=12), limit=st.integers(1, 5), recursive=st.booleans())
@settings(max_examples=150, deadline=None, database=None)
def test_pages_of_any_size_are_the_whole_in_order(
    tmp_path_factory: pytest.TempPathFactory, paths: set[str], limit: int, recursive: bool
) -> None:
    root = tmp_path_factory.mktemp("tree")
    for path in paths:
        (root / path).mkdir(parents=True, exist_ok=True)
    there = {str(each.relative_to(root)) for each in root.rglob("*")}
    wanted = there if recursive else {path for path in there if "/" not in path}
    assert everything(root, limit=limit, recursive=recursive) == in_order(wanted)
    for folder in there:
        below = {path for path in there if path.startswith(f"{folder}/")}
        wanted = below if recursive else {path for path in below if path.count("/") == folder.count("/") + 1}
        assert everything(root, folder, limit, recursive=recursive) == in_order(wanted)
    shutil.rmtree(root)


def test_a_page_goes_on_where_the_last_one_ended_also_when_that_is_gone(tmp_path: Path) -> None:
    for name in ("a/1", "a/2", "b/1", "b/2", "c"):
        (tmp_path / name).mkdir(parents=True)
    page = tree.listed(tmp_path, "", None, 5, recursive=True)
    assert page.entries[-1].path == "b/1"
    shutil.rmtree(tmp_path / "b")
    rest = tree.listed(tmp_path, "", "b/1", 5, recursive=True)
    assert ([each.path for each in rest.entries], rest.more) == (["c"], False)


@pytest.mark.usefixtures("way")
def test_no_link_is_followed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "folder").mkdir(parents=True)
    for name in ("link", "folder/link"):
        (root / name).symlink_to(tmp_path)
    assert everything(root) == ["folder", "folder/link", "link"]
    for path, code in (("link", "invalid"), ("folder/link", "invalid"), ("link/root", "not_found")):
        with pytest.raises(Problem) as caught:
            tree.listed(root, path, None, 10, recursive=True)
        assert caught.value.code == code


@pytest.mark.parametrize(("path", "code"), [("none", "not_found"), ("file", "invalid"), ("file/x", "not_found")])
def test_what_is_no_directory_holds_nothing(tmp_path: Path, path: str, code: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Problem) as caught:
        tree.listed(tmp_path, path, None, 10, recursive=False)
    assert caught.value.code == code


def test_names_that_are_no_utf_8_are_listed_and_paged(tmp_path: Path) -> None:
    for name in (b"\xff", b"a\xfe/\xfd", b"z"):
        os.makedirs(os.fsencode(tmp_path) + b"/" + name)
    raw = [os.fsencode(each) for each in everything(tmp_path, limit=1)]
    assert sorted(raw) == [b"a\xfe", b"a\xfe/\xfd", b"z", b"\xff"]


def test_what_lies_deeper_than_a_path_can_name_is_left_out(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    for _ in range(40):
        os.mkdir("x" * 200, dir_fd=folder)
        below = os.open("x" * 200, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = below
    os.close(folder)
    found = everything(tmp_path, limit=3)
    assert [len(each) for each in found] == [201 * depth - 1 for depth in range(1, 21)]


@pytest.mark.parametrize("mode", [0o000, 0o300])
def test_what_an_agent_has_shut_is_listed(tmp_path: Path, mode: int) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a").chmod(mode)
    assert everything(tmp_path) == ["a", "a/b"]
    (tmp_path / "a").chmod(0o700)  # for whoever removes it


def test_no_more_waits_than_a_page_takes(tmp_path: Path) -> None:
    """A page of a tree whose every directory is wide costs what the page is long, not what the tree is wide."""
    folder = tmp_path
    for _ in range(20):
        for name in range(50):
            (folder / f"b{name}").touch()
        folder /= "a"
        folder.mkdir()
    listing = tree._Listing(os.open(tmp_path, os.O_RDONLY), "", 10, recursive=True)
    page = listing.run(None)
    os.close(listing._root)
    assert [each.path for each in page.entries] == ["/".join("a" * depth) for depth in range(1, 11)]
    assert (page.more, len(listing._waiting)) == (True, 0)


def test_a_tree_that_changes_all_the_time_is_listed_without_what_is_elsewhere(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    (root / "folder").mkdir(parents=True)
    (root / "folder/own").touch()
    elsewhere.mkdir()
    (elsewhere / "secret").touch()
    (root / "link").symlink_to(elsewhere)
    with swapping(root / "folder", root / "link"):
        seen = {name for _ in range(300) for path in everything(root, limit=2) for name in path.split("/")}
    assert "secret" not in seen
    assert "own" in seen


def test_a_page_of_long_names_has_fewer_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path.joinpath(*["f" * 200] * 5)
    folder.mkdir(parents=True)
    for number in range(20):
        (folder / f"{number:0200}").touch()
    monkeypatch.setattr(tree, "PAGE_CHARACTERS", 4000)
    assert len(tree.listed(tmp_path, "", None, 1000, recursive=True).entries) < 10
    assert len(everything(tmp_path)) == 25
