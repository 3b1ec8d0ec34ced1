"""A workspace copied, whatever its agent has made of it, and makes of it at this moment."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection
from pathlib import Path

import pytest

from clawdforge.server.workspaces import copying, removal
from clawdforge.server.workspaces.copying import Limits, TooMuch
from harness.leases import held

MIB = 1024 * 1024
OWNER = 64_001 if os.geteuid() == 0 else os.geteuid()
PLENTY = Limits(None)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "target"
    folder.mkdir()
    return folder


def copied(
    source: Path, target: Path, limits: Limits = PLENTY, leave_out: Collection[str] = (), owner: int | None = None
) -> None:
    copying.copy(source, target, owner, limits, lambda: None, leave_out)


def tree(root: Path) -> dict[str, tuple[str, object]]:
    found: dict[str, tuple[str, object]] = {}
    for path in root.rglob("*"):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = ("link", os.readlink(path))
        elif path.is_dir():
            found[name] = ("directory", stat.S_IMODE(path.stat().st_mode))
        elif path.is_file():
            found[name] = ("file", path.read_bytes())
        else:
            found[name] = ("other", None)
    return found


def test_files_directories_and_links_are_copied_with_modes_and_times(source: Path, target: Path) -> None:
    (source / "a/b").mkdir(parents=True)
    (source / "a/b/file").write_text("text")
    (source / "a/empty").touch()
    (source / "run").write_text("#!/bin/sh")
    (source / "run").chmod(0o4755)
    (source / "link").symlink_to("/etc/passwd")
    (source / os.fsdecode(b"caf\xe9")).write_text("text")
    (source / ".git").mkdir()
    (source / ".git/HEAD").write_text("ref")
    (source / "a").chmod(0o555)
    for path in ("a/b/file", "a"):
        os.utime(source / path, ns=(10**18, 10**18))
    copied(source, target)
    assert tree(target) == tree(source)
    assert stat.S_IMODE((target / "run").stat().st_mode) == 0o755
    assert [(target / path).stat().st_mtime_ns for path in ("a/b/file", "a")] == [10**18, 10**18]


def test_all_that_is_made_belongs_to_its_owner(source: Path, target: Path) -> None:
    (source / "a").mkdir()
    (source / "a/file").write_text("text")
    (source / "link").symlink_to("a")
    copied(source, target, owner=OWNER)
    assert {path.lstat().st_uid for path in target.rglob("*")} == {OWNER}


def test_no_link_is_followed_and_nothing_special_is_copied(source: Path, target: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "secret").write_text("of somebody else")
    (source / "folder").symlink_to(elsewhere)
    os.mkfifo(source / "pipe")
    os.mkdir(source / "dead")
    (source / "dead/link").symlink_to("nowhere")
    copied(source, target)
    assert tree(target) == {
        "folder": ("link", str(elsewhere)),
        "dead": ("directory", 0o755),
        "dead/link": ("link", "nowhere"),
    }


def test_what_is_left_out_is_left_out_with_all_below(source: Path, target: Path) -> None:
    (source / "a/login").mkdir(parents=True)
    (source / "a/login/secret").write_text("secret")
    (source / "a/kept").write_text("kept")
    copied(source, target, leave_out={"a/login"})
    assert tree(target) == {"a": ("directory", 0o755), "a/kept": ("file", b"kept")}


def test_a_source_that_is_not_there_is_empty(source: Path, target: Path) -> None:
    copied(source / "gone", target)
    assert tree(target) == {}


def test_holes_stay_holes(source: Path, target: Path) -> None:
    with (source / "sparse").open("wb") as file:
        file.seek(5 * MIB)
        file.write(b"middle")
        file.truncate(2**40)
    copied(source, target, Limits(MIB))
    copy = target / "sparse"
    assert copy.stat().st_size == 2**40
    assert copy.stat().st_blocks * 512 < MIB
    with copy.open("rb") as file:
        file.seek(5 * MIB)
        assert file.read(8) == b"middle\0\0"


@pytest.mark.parametrize("errno_", [errno.EXDEV, errno.ENOSYS])
def test_where_the_kernel_cannot_copy_a_range(
    source: Path, target: Path, errno_: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = os.urandom(3 * MIB + 7)
    (source / "file").write_bytes(content)

    def cannot(*_: object) -> int:
        raise OSError(errno_, os.strerror(errno_))

    monkeypatch.setattr(os, "copy_file_range", cannot)
    copied(source, target)
    assert (target / "file").read_bytes() == content


def test_no_more_is_copied_than_may_be(source: Path, target: Path) -> None:
    (source / "a").write_bytes(b"x" * MIB)
    os.link(source / "a", source / "b")
    with pytest.raises(TooMuch, match="bytes"):
        copied(source, target, Limits(2 * MIB - 1))


def test_no_more_entries_are_copied_than_may_be(source: Path, target: Path) -> None:
    for number in range(10):
        (source / f"{number}").mkdir()
    with pytest.raises(TooMuch, match="files"):
        copied(source, target, Limits(None, entries=9))


def test_what_lies_deeper_than_a_path_can_name_is_too_much(source: Path, target: Path) -> None:
    here = os.open(source, os.O_RDONLY)
    for _ in range(2100):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    with pytest.raises(TooMuch, match="in each other"):
        copied(source, target)
    for root in (source, target):
        removal.remove(root)


def test_a_copy_that_is_called_off_stops(source: Path, target: Path) -> None:
    class CalledOff(Exception):
        pass

    for number in range(10):
        (source / f"{number}").write_text("text")
    calls = iter(range(3))

    def go_on() -> None:
        if next(calls, None) is None:
            raise CalledOff

    with pytest.raises(CalledOff):
        copying.copy(source, target, None, PLENTY, go_on)
    assert 0 < len(os.listdir(target)) < 10


@pytest.mark.parametrize("what", ["link", "pipe", "gone", "file"])
def test_what_took_a_directory_s_place_is_not_entered(
    source: Path, target: Path, tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "secret").write_text("of somebody else")
    (source / "folder").mkdir()
    opened = copying._Copy._opened

    def swapped(copy: copying._Copy, path: str) -> int:
        if path == "folder":
            (source / "folder").rmdir()
            if what == "link":
                (source / "folder").symlink_to(elsewhere)
            elif what == "pipe":
                os.mkfifo(source / "folder")
            elif what == "file":
                (source / "folder").write_text("text")
        return opened(copy, path)

    monkeypatch.setattr(copying._Copy, "_opened", swapped)
    copied(source, target)
    assert set(tree(target)) == {"folder"}


def test_a_second_name_of_somebody_else_s_file_is_not_copied(
    source: Path, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an agent can make one where the kernel does not protect hard links."""
    secret = tmp_path / "secret"
    secret.write_text("of somebody else")
    os.link(secret, source / "file")
    made = copying._Copy.__init__

    def of_another(copy: copying._Copy, *arguments: object) -> None:
        made(copy, *arguments)  # type: ignore[arg-type]  # as they came
        copy._source_owner += 1

    monkeypatch.setattr(copying._Copy, "__init__", of_another)
    copied(source, target)
    assert tree(target) == {}


@pytest.mark.parametrize("mode", [0, 0o200, 0o333])
def test_what_its_owner_has_shut_is_copied_all_the_same(source: Path, target: Path, mode: int) -> None:
    (source / "folder").mkdir()
    (source / "folder/file").write_text("text")
    (source / "folder/file").chmod(0)
    (source / "folder").chmod(mode)
    copied(source, target)
    for root in (source, target):
        (root / "folder").chmod(0o700)
        (root / "folder/file").chmod(0o600)
    assert (target / "folder/file").read_text() == "text"


def test_a_file_that_a_program_keeps_to_itself_is_not_waited_for(source: Path, target: Path) -> None:
    (source / "file").write_text("text")
    with held(source / "file"), pytest.raises(BlockingIOError):
        copied(source, target)


def test_a_file_that_is_emptied_between_two_of_its_holes_ends_there(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (source / "file").write_bytes(b"x" * MIB)
    lseek = os.lseek

    def emptied(file: int, at: int, how: int) -> int:
        if how == os.SEEK_HOLE:
            os.truncate(source / "file", 0)
        return lseek(file, at, how)

    monkeypatch.setattr(os, "lseek", emptied)
    copied(source, target)
    assert (target / "file").read_bytes() == bytes(MIB)
