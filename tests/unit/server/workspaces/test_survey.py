"""What is found in a workspace, whatever an agent has made of it, and what is not looked at."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from clawdforge.server.workspaces import removal, survey
from clawdforge.server.workspaces.survey import USUAL, Entry, Limits, Manifest
from harness.leases import held

LONG_AGO = 1_000_000_000


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


class Texts(dict[str, bytes]):
    def keep(self, sha256: str, content: bytes) -> bool:
        self[sha256] = content
        return True


def looked(root: Path, before: Manifest | None = None, limits: Limits = USUAL) -> Manifest:
    return survey.look(root, before or Manifest(), Texts().keep, limits)


def test_files_and_links_are_found_by_what_they_hold(root: Path) -> None:
    (root / "a/b").mkdir(parents=True)
    (root / "a/b/text").write_text("text")
    (root / "program").write_bytes(b"\x7fELF\0")
    (root / "program").chmod(0o755)
    (root / "link").symlink_to("/etc/passwd")
    (root / "folder-link").symlink_to("a")
    texts = Texts()
    found = survey.look(root, Manifest(), texts.keep).entries
    told = {path: (each.mode, each.size, each.content) for path, each in found.items()}
    assert told == {
        "a/b/text": (0o100644, 4, "kept"),
        "program": (0o100755, 5, "binary"),
        "link": (0o120000, 11, "kept"),
        "folder-link": (0o120000, 1, "kept"),
    }
    assert sorted(texts.values()) == [b"/etc/passwd", b"a", b"text"]
    assert {each.sha256 for each in found.values()} == {
        hashlib.sha256(content).hexdigest() for content in (*texts.values(), b"\x7fELF\0")
    }


def test_an_empty_workspace_and_one_that_is_gone_hold_nothing(root: Path) -> None:
    (root / "empty").mkdir()
    assert looked(root) == looked(root / "gone") == Manifest()


def test_what_is_called_git_is_left_out(root: Path) -> None:
    for place in (".git", "below/.git"):
        (root / place).mkdir(parents=True)
        (root / place / "HEAD").write_text("ref")
    (root / "module").mkdir()
    (root / "module/.git").write_text("gitdir: elsewhere")
    (root / "below/.gitignore").write_text("*")
    assert set(looked(root).entries) == {"below/.gitignore"}


def test_what_is_neither_a_file_nor_a_link_is_passed_over(root: Path) -> None:
    os.mkfifo(root / "pipe")
    (root / "file").write_text("text")
    assert set(looked(root).entries) == {"file"}


def test_a_name_that_is_no_text_is_kept_as_it_is(root: Path) -> None:
    (root / os.fsdecode(b"caf\xe9")).write_text("text")
    assert set(looked(root).entries) == {"caf\udce9"}


def test_what_has_not_changed_is_not_read_again(root: Path) -> None:
    (root / "same").write_text("same")
    (root / "other").write_text("before")
    before = looked(root)
    (root / "other").write_text("after!")
    texts = Texts()
    after = survey.look(root, before, texts.keep)
    assert list(texts.values()) == [b"after!"]
    assert after.entries["same"] is before.entries["same"]


def test_a_file_that_changed_just_now_is_read_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It could change once more in the same tick of the clock, and its stat would be the same."""
    monkeypatch.undo()
    file = root / "file"
    file.write_text("before")
    before = looked(root).entries["file"]
    assert not before.sure
    file.write_text("after!")
    same = dataclasses.replace(before, stamp=survey.stamp_of(file.stat()))
    assert looked(root, Manifest({"file": same})).entries["file"].differs(before)


def test_a_time_that_was_set_back_hides_nothing(root: Path) -> None:
    file = root / "file"
    file.write_text("before")
    os.utime(file, ns=(LONG_AGO, LONG_AGO))
    before = looked(root)
    file.write_text("after!")
    os.utime(file, ns=(LONG_AGO, LONG_AGO))
    assert looked(root, before).entries["file"].differs(before.entries["file"])


def test_a_large_file_counts_by_size_and_time(root: Path) -> None:
    with (root / "large").open("wb") as file:
        file.truncate(10 * 2**30)
    os.utime(root / "large", ns=(LONG_AGO, LONG_AGO))
    before = looked(root).entries["large"]
    assert (before.size, before.content, before.sha256) == (10 * 2**30, "unread", None)
    (root / "large").chmod(0o640)
    assert not looked(root).entries["large"].differs(before)
    os.utime(root / "large")
    assert looked(root).entries["large"].differs(before)


def test_the_largest_that_is_read(root: Path) -> None:
    (root / "just").write_bytes(b"x" * 100)
    (root / "more").write_bytes(b"x" * 101)
    found = looked(root, limits=Limits(file_bytes=100)).entries
    assert (found["just"].content, found["more"].content) == ("kept", "unread")


def test_where_time_is_up_files_are_read_at_the_next_look(root: Path) -> None:
    (root / "file").write_text("text")
    before = looked(root, limits=Limits(time_s=0))
    assert before.entries["file"].content == "unread"
    after = looked(root, before)
    assert after.entries["file"].content == "kept"
    assert not after.entries["file"].differs(before.entries["file"])


def test_beyond_so_many_entries_nothing_is_said_of_a_directory(root: Path) -> None:
    (root / "near").write_text("text")
    for folder, count in (("few", 3), ("many", 50), ("none", 0)):
        (root / folder).mkdir()
        for number in range(count):
            (root / folder / str(number)).write_text("text")
    found = looked(root, limits=Limits(entries=20))
    assert "many" in found.unseen
    assert "near" in found.entries
    assert not any(path.startswith("many/") for path in found.entries)
    assert [found.saw(path) for path in ("near", "new", "many/7", "many/new/one", "many2")] == [
        True, True, False, False, True,
    ]  # fmt: skip


def test_a_workspace_of_too_many_entries_is_not_looked_at(root: Path) -> None:
    for number in range(30):
        (root / str(number)).write_text("text")
    found = looked(root, limits=Limits(entries=20))
    assert found == Manifest({}, frozenset({""}))
    assert not found.saw("anything")


def test_no_depth_is_too_much(root: Path) -> None:
    here = os.open(root, os.O_RDONLY)
    for _ in range(5000):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    (root / "file").write_text("text")
    found = looked(root)
    assert set(found.entries) == {"file"}
    assert found.unseen == {"/".join("d" * (USUAL.depth + 1))}
    removal.remove(root)


@pytest.mark.parametrize("what", ["link", "pipe", "file"])
def test_what_took_a_directory_s_place_is_not_looked_into(
    root: Path, tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at the directory above and the one into it."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "secret").write_text("of somebody else")
    (root / "folder").mkdir()
    make: dict[str, Callable[[], object]] = {
        "link": lambda: (root / "folder").symlink_to(elsewhere),
        "pipe": lambda: os.mkfifo(root / "folder"),
        "file": lambda: (root / "folder").write_text("text"),
    }
    opened = survey._Look._opened

    def swapped(look: survey._Look, path: str) -> int:
        if path == "folder":
            (root / "folder").rmdir()
            make[what]()
        return opened(look, path)

    monkeypatch.setattr(survey._Look, "_opened", swapped)
    assert looked(root) == Manifest()


@pytest.mark.parametrize("what", ["link", "pipe", "nothing"])
def test_what_took_a_file_s_place_is_not_read(
    root: Path, tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("of somebody else")
    file = root / "file"
    file.write_text("text")
    make: dict[str, Callable[[], object]] = {
        "link": lambda: file.symlink_to(secret),
        "pipe": lambda: os.mkfifo(file),
        "nothing": lambda: None,
    }
    entry = survey._Look._entry

    def swapped(look: survey._Look, directory: int, name: str, path: str, info: os.stat_result) -> Entry | None:
        file.unlink()
        make[what]()
        return entry(look, directory, name, path, info)

    monkeypatch.setattr(survey._Look, "_entry", swapped)
    assert looked(root) == Manifest()


@pytest.mark.parametrize("uid", [64_001])
def test_a_second_name_of_somebody_else_s_file_is_not_read(root: Path, tmp_path: Path, uid: int) -> None:
    """As an agent can make one where the kernel does not protect hard links."""
    secret = tmp_path / "secret"
    secret.write_text("of somebody else")
    os.link(secret, root / "file")
    look = survey._Look(os.open(root, os.O_RDONLY), Manifest(), Texts().keep, USUAL)
    look._owner = secret.stat().st_uid + uid
    try:
        assert look.run().entries["file"].content == "unread"
    finally:
        os.close(look._top)


def test_a_directory_that_its_owner_has_shut_is_said_to_be_unseen(root: Path) -> None:
    (root / "shut").mkdir()
    (root / "shut/file").write_text("text")
    (root / "shut").chmod(0)
    try:
        found = looked(root)
        assert stat.S_IMODE((root / "shut").stat().st_mode) == 0
    finally:
        (root / "shut").chmod(0o700)
    if os.geteuid() == 0:
        assert set(found.entries) == {"shut/file"}
    else:
        assert found.unseen == {"shut"}


def test_a_file_that_a_program_keeps_to_itself_is_not_waited_for(root: Path) -> None:
    (root / "file").write_text("text")
    (root / "other").write_text("text")
    with held(root / "file"):
        found = looked(root)
    assert {path: each.content for path, each in found.entries.items()} == {"file": "unread", "other": "kept"}
    assert looked(root, found).entries["file"].content == "kept"


def test_somebody_else_s_file_that_took_a_file_s_place_is_not_read(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at the directory and the one into the file."""
    secret = tmp_path / "secret"
    secret.write_text("of somebody else")
    file = root / "file"
    file.write_text("text")
    entry = survey._Look._entry

    def swapped(look: survey._Look, directory: int, name: str, path: str, info: os.stat_result) -> Entry | None:
        look._owner += 1
        file.unlink()
        os.link(secret, file)
        return entry(look, directory, name, path, info)

    monkeypatch.setattr(survey._Look, "_entry", swapped)
    texts = Texts()
    assert survey.look(root, Manifest(), texts.keep).entries["file"].content == "unread"
    assert not texts


def test_long_names_are_fewer_files(root: Path) -> None:
    folder = root / ("f" * 200)
    folder.mkdir()
    for number in range(20):
        (folder / f"{number:0200}").touch()
    (root / "file").touch()
    assert len(looked(root).entries) == 21
    found = looked(root, limits=dataclasses.replace(USUAL, names_characters=4000))
    assert found == Manifest({"file": found.entries["file"]}, frozenset({folder.name}))
