"""What directories take, of any shape."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from clawdforge.server.workspaces import removal
from clawdforge.server.workspaces.size import LEAST_BYTES, TooDeep, size_bytes

MIB = 1024 * 1024


def test_what_is_not_there_takes_nothing(tmp_path: Path) -> None:
    assert size_bytes(tmp_path / "nowhere") == 0
    assert size_bytes(tmp_path) == 0


def test_files_count_what_they_take_not_what_they_say(tmp_path: Path) -> None:
    (tmp_path / "full").write_bytes(bytes(MIB))
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    assert MIB <= size_bytes(tmp_path) < MIB + 10 * LEAST_BYTES


def test_each_entry_counts_something(tmp_path: Path) -> None:
    for number in range(50):
        (tmp_path / f"empty{number}").touch()
        (tmp_path / f"link{number}").symlink_to("nowhere")
    assert size_bytes(tmp_path) == 100 * LEAST_BYTES


def test_a_file_of_several_names_counts_once_also_over_directories(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    (one / "a").write_bytes(bytes(MIB))
    os.link(one / "a", one / "b")
    os.link(one / "a", two / "c")
    assert MIB <= size_bytes(one, two) < 2 * MIB


def test_links_are_not_followed(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    (outside / "big").write_bytes(bytes(MIB))
    (inside / "file").symlink_to(outside / "big")
    (inside / "folder").symlink_to(outside)
    assert size_bytes(inside) == 2 * LEAST_BYTES
    assert size_bytes(inside / "folder") == 0


@pytest.mark.parametrize("mode", [0o000, 0o100, 0o400])
def test_what_its_owner_has_shut_is_seen_all_the_same(tmp_path: Path, mode: int) -> None:
    shut = tmp_path / "shut"
    (shut / "inner").mkdir(parents=True)
    (shut / "inner" / "file").write_bytes(bytes(MIB))
    (shut / "inner").chmod(mode)
    shut.chmod(mode)
    assert size_bytes(tmp_path) >= MIB


def test_what_its_owner_made_read_only_stays_so(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept").chmod(0o555)
    size_bytes(tmp_path)
    assert stat.S_IMODE((tmp_path / "kept").stat().st_mode) == 0o555


def dig(top: Path, levels: int) -> int:
    """Makes so many directories in each other, by names of 200 bytes. Returns the last one, open."""
    place = os.open(top, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d" * 200, dir_fd=place)
        deeper = os.open("d" * 200, os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = deeper
    return place


def test_no_depth_hides_a_file(tmp_path: Path) -> None:
    place = dig(tmp_path, 100)
    file = os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=place)
    os.write(file, bytes(MIB))
    os.close(file)
    os.close(place)
    try:
        assert size_bytes(tmp_path) >= MIB + 100 * LEAST_BYTES
    finally:
        removal.remove(tmp_path)


def test_what_lies_too_deep_to_be_counted_is_told_and_takes_no_files(tmp_path: Path) -> None:
    os.close(dig(tmp_path, 1200))
    before = len(os.listdir("/proc/self/fd"))
    try:
        with pytest.raises(TooDeep):
            size_bytes(tmp_path)
        assert len(os.listdir("/proc/self/fd")) == before
    finally:
        removal.remove(tmp_path)
