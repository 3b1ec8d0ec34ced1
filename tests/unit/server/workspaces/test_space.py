"""What a session may still take: never more than its limit, whoever writes, and counted only where it must be."""

from __future__ import annotations

from pathlib import Path

import pytest

from clawdforge.server.workspaces import space
from clawdforge.server.workspaces.space import Full, Space

KIB = 1024
LIMIT = 100 * KIB


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def check(room: Space, *directories: Path, wanted_bytes: int) -> None:
    """As a call does: counts only where nothing else tells."""
    if not room.fits(directories[0], wanted_bytes):
        room.count(directories, wanted_bytes)


def fill(folder: Path, name: str, size: int) -> None:
    (folder / name).write_bytes(b"x" * size)


def test_what_is_held_and_what_is_wanted_stay_within_the_limit_together(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    fill(tmp_path, "a", 40 * KIB)
    fill(home, "b", 40 * KIB)
    room = Space(LIMIT)
    with pytest.raises(Full) as caught:
        check(room, tmp_path, home, wanted_bytes=21 * KIB)
    assert caught.value.limit_bytes == LIMIT
    assert (caught.value.held_bytes or 0) >= 80 * KIB
    check(room, home, wanted_bytes=21 * KIB)


def test_what_was_removed_is_room_again_at_once(tmp_path: Path) -> None:
    fill(tmp_path, "a", 100 * KIB)
    room = Space(LIMIT)
    with pytest.raises(Full):
        check(room, tmp_path, wanted_bytes=1)
    (tmp_path / "a").unlink()
    check(room, tmp_path, wanted_bytes=90 * KIB)


def test_what_is_put_again_and_again_is_counted_each_time(tmp_path: Path) -> None:
    room = Space(LIMIT)
    put = 0
    with pytest.raises(Full):
        for number in range(100):
            check(room, tmp_path, wanted_bytes=10 * KIB)
            fill(tmp_path, str(number), 10 * KIB)
            room.wrote(tmp_path, 10 * KIB)
            put += 1
    assert 5 <= put <= 10


def test_what_was_on_the_disk_before_it_was_put_is_counted(tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    fill(tmp_path, "staged", 60 * KIB)
    room = Space(LIMIT)
    check(room, workspace, wanted_bytes=60 * KIB)
    (tmp_path / "staged").rename(workspace / "put")
    room.wrote(workspace, 60 * KIB)
    with pytest.raises(Full):
        check(room, workspace, wanted_bytes=60 * KIB)


def test_what_others_write_is_seen_after_a_while(tmp_path: Path) -> None:
    clock = Clock()
    room = Space(LIMIT, clock)
    check(room, tmp_path, wanted_bytes=0)
    fill(tmp_path, "a", LIMIT)
    clock.now_s += space.COUNTED_AGAIN_S + 1
    with pytest.raises(Full):
        check(room, tmp_path, wanted_bytes=1)


def test_without_a_limit_there_is_room_for_anything(tmp_path: Path) -> None:
    check(Space(0), tmp_path, wanted_bytes=1 << 60)
