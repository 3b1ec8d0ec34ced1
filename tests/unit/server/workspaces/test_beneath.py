"""Files in a directory that belongs to somebody who may have planted anything there."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from clawdforge.server.workspaces import beneath

OWNER = 64_001 if os.geteuid() == 0 else os.geteuid()
KIB = 1024


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    return root


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "file").write_text("of somebody else")
    return folder


def test_what_is_written_belongs_to_its_owner_with_all_that_was_made_for_it(root: Path) -> None:
    beneath.write(root, "a/b/file", b"text", OWNER)
    assert beneath.read(root, "a/b/file", KIB) == b"text"
    assert {(root / each).stat().st_uid for each in ("a", "a/b", "a/b/file")} == {OWNER}
    assert [stat.S_IMODE((root / each).stat().st_mode) for each in ("a", "a/b", "a/b/file")] == [
        0o700,
        0o700,
        0o600,
    ]
    assert os.listdir(root / "a/b") == ["file"]


@pytest.mark.parametrize("mode", [0o000, 0o400, 0o500])
@pytest.mark.parametrize("place", ["", "a", "a/b"])
def test_a_directory_that_its_owner_has_shut_is_in_nobody_s_way(root: Path, place: str, mode: int) -> None:
    beneath.write(root, "a/b/file", b"text")
    (root / place).chmod(mode)
    assert beneath.read(root, "a/b/file", KIB) == b"text"
    (root / place).chmod(mode)
    assert beneath.modified(root, "a/b/file") > 0
    (root / place).chmod(mode)
    beneath.write(root, "a/b/file", b"new")
    (root / place).chmod(mode)
    beneath.remove(root, "a/b/file")
    assert os.listdir(root / "a/b") == []


def test_what_an_agent_asks_for_changes_no_mode(root: Path) -> None:
    (root / "a").mkdir()
    (root / "a/file").write_text("text")
    (root / "a").chmod(0o500)
    os.close(beneath.open_file(root, "a/file", os.O_RDONLY))
    assert stat.S_IMODE((root / "a").stat().st_mode) == 0o500


@pytest.mark.parametrize("place", ["a", "a/b", "a/b/file"])
@pytest.mark.parametrize("what", ["link", "link to nowhere", "directory", "file", "pipe"])
def test_whatever_was_planted_in_its_way_is_replaced(root: Path, elsewhere: Path, place: str, what: str) -> None:
    path = root / place
    path.parent.mkdir(parents=True, exist_ok=True)
    plant: dict[str, Callable[[], object]] = {
        "link": lambda: path.symlink_to(elsewhere),
        "link to nowhere": lambda: path.symlink_to(elsewhere / "new"),
        "directory": lambda: (path / "file" / "deep").mkdir(parents=True),
        "file": lambda: path.write_text("planted"),
        "pipe": lambda: os.mkfifo(path),
    }
    plant[what]()
    assert beneath.read(root, "a/b/file", KIB) in (None, b"planted")
    beneath.write(root, "a/b/file", b"text", OWNER)
    assert (root / "a/b/file").read_bytes() == b"text"
    assert not any((root / each).is_symlink() for each in ("a", "a/b", "a/b/file"))
    assert {each.name: each.read_text() for each in elsewhere.iterdir()} == {"file": "of somebody else"}


def test_what_is_no_small_regular_file_is_not_read(root: Path, elsewhere: Path) -> None:
    (root / "long").write_bytes(b"x" * (KIB + 1))
    (root / "directory").mkdir()
    (root / "link").symlink_to(elsewhere / "file")
    (root / "folder").symlink_to(elsewhere)
    os.mkfifo(root / "pipe")
    for name in ("long", "directory", "link", "folder/file", "pipe", "not-there", "not/there"):
        assert beneath.read(root, name, KIB) is None
    assert beneath.modified(root, "folder/file") == 0


def test_what_is_removed_takes_all_with_it_but_what_is_kept(root: Path, elsewhere: Path) -> None:
    for name in ("own/talks/1/a.jsonl", "own/talks/2/b.jsonl", "own/talks/2/notes.md", "own/more/x", "other/y"):
        beneath.write(root, name, b"text")
    (root / "own/talks/3").symlink_to(elsewhere)
    (root / "own/talks/1/link.jsonl").symlink_to(elsewhere / "file")
    beneath.remove(root, "own", keeps=["own/talks/*/*.jsonl"])
    left = {str(each.relative_to(root)) for each in root.rglob("*") if not each.is_dir() or each.is_symlink()}
    assert left == {"own/talks/1/a.jsonl", "own/talks/2/b.jsonl", "other/y"}
    assert (elsewhere / "file").exists()
    beneath.remove(root, "own")
    assert os.listdir(root) == ["other"]
    for gone in ("own", "own/talks", "other/y/z"):
        beneath.remove(root, gone)
    assert (root / "other/y").exists()


def test_a_link_is_removed_and_not_what_it_leads_to(root: Path, elsewhere: Path) -> None:
    (root / "own").symlink_to(elsewhere)
    beneath.remove(root, "own", keeps=["own/file"])
    assert not (root / "own").is_symlink()
    assert (elsewhere / "file").exists()


WRITING = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


@pytest.fixture
def usual_umask() -> Iterator[None]:
    """Whatever that of who runs the tests is."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.usefixtures("usual_umask")
def test_a_file_that_is_opened_belongs_to_whom_its_directory_belongs(root: Path) -> None:
    (root / "a/b").mkdir(parents=True)
    os.chown(root / "a/b", OWNER, OWNER)
    for content in ("first", "again"):
        with os.fdopen(beneath.open_file(root, "a/b/file", WRITING), "w") as file:
            file.write(content)
        with os.fdopen(beneath.open_file(root, "a/b/file", os.O_RDONLY)) as file:
            assert file.read() == content
    made = (root / "a/b/file").stat()
    assert (made.st_uid, stat.S_IMODE(made.st_mode)) == (OWNER, 0o644)


@pytest.mark.parametrize("flags", [os.O_RDONLY, WRITING])
@pytest.mark.parametrize("name", ["link/file", "deep/link/file", "deep/to_file"])
def test_no_file_is_opened_by_way_of_a_link(root: Path, elsewhere: Path, name: str, flags: int) -> None:
    (root / "deep").mkdir()
    (root / "link").symlink_to(elsewhere)
    (root / "deep/link").symlink_to("../../elsewhere")
    (root / "deep/to_file").symlink_to(elsewhere / "file")
    with pytest.raises(OSError):
        os.close(beneath.open_file(root, name, flags))
    assert (elsewhere / "file").read_text() == "of somebody else"
