"""What is not its own an intruder neither reads nor writes, by whatever name it calls it."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest

from harness import intruder, intruder_calls
from harness.stand import AS_ROOT, BY_ROOT, EVERYWHERE, MIB, Stand

DEVICES = "console fuse hwrng kmsg kvm loop0 loop-control mem net/tun port sda tty tty1 ttyS0 uinput vda vsock"

KEPT = """/etc/shadow /etc/fstab /etc/hostname /etc/machine-id /etc/ssh /etc/ssl/private /root /home/other /boot
    /var/log /var/lib /var/mail /var/spool/cron /sys/kernel /sys/class/net /run/systemd /run/docker.sock"""
"""Where it is there at all, and none of a program's own directories."""


def open_for_all(path: Path, content: str) -> Path:
    """A file that only a wall keeps anybody from."""
    path.write_text(content)
    path.chmod(0o666)
    return path


@pytest.fixture
def outside(place: Path) -> Path:
    """A file in a directory that only a wall keeps anybody from."""
    folder = place / "outside"
    folder.mkdir()
    folder.chmod(0o777)
    return open_for_all(folder / "file", "outside")


def test_its_own_directories_can_be_written_to(stand: Stand) -> None:
    space = stand.space("own")
    (told,) = stand.tries(space, (intruder.ids,))
    writes = [(intruder.write, f"{told['got'][folder]}/file") for folder in ("cwd", "home", "tmp")]
    assert all("got" in answer for answer in stand.tries(space, *writes))
    assert (space.workspace / "file").read_text() == "intruded"


@EVERYWHERE
def test_another_session_s_directories_are_out_of_reach(stand: Stand) -> None:
    other = stand.space("other")
    secret = stand.give(open_for_all(other.workspace / "secret", "of another"))
    login = stand.give(open_for_all(other.home / "login", "of another"))
    stand.shuts_out(
        stand.space("own"),
        (intruder.read, secret),
        (intruder.read, login),
        (intruder.listing, other.workspace),
        (intruder.listing, other.files),
        (intruder.write, secret),
        (intruder.empty, secret),
        (intruder.write, other.workspace / "planted"),
        (intruder.make_folder, other.home / "planted-folder"),
        (intruder.make_link, "/etc/passwd", other.home / "planted-link"),
        (intruder.make_pipe, other.workspace / "planted-pipe"),
        (intruder.hard_link, login, other.home / "planted-name"),
        (intruder.rename, login, other.home / "renamed"),
        (intruder.remove, secret),
    )
    if stand.walled:
        assert secret.read_text() == login.read_text() == "of another"
        assert os.listdir(other.workspace) == ["secret"]
        assert os.listdir(other.home) == ["login"]


@EVERYWHERE
def test_what_is_told_about_another_session_s_files_is_out_of_reach(stand: Stand) -> None:
    """Landlock knows no right for it: sizes, modes, times and changes of what is its user's are in reach."""
    other = stand.space("other")
    secret = stand.give(open_for_all(other.workspace / "secret", "of another"))
    stand.shuts_out(
        stand.space("own"),
        (intruder.look, secret),
        (intruder_calls.watch, other.workspace),
        (intruder.change_times, secret),
        (intruder.change_mode, secret),
        leaks_at=["landlock"],
    )


@EVERYWHERE
def test_the_data_directory_is_out_of_reach(stand: Stand, place: Path) -> None:
    place.chmod(0o777)
    database, token, lock = (
        open_for_all(place / name, "secret") for name in ("clawdforge.db", "admin-token", "login.lock")
    )
    stand.shuts_out(
        stand.space("own"),
        (intruder.listing, place),
        *((verb, path) for path in (database, token, lock) for verb in (intruder.read, intruder.write)),
        (intruder.empty, database),
        (intruder.hard_link, token, "hard"),
        (intruder.write, f"{database}-wal"),
        (intruder.remove, token),
    )
    if stand.walled:
        assert {path.read_text() for path in (database, token, lock)} == {"secret"}


@EVERYWHERE
def test_no_name_of_another_kind_leads_out(stand: Stand, outside: Path) -> None:
    space = stand.space("own")
    (space.workspace / "link").symlink_to(outside)
    (space.workspace / "root").symlink_to("/proc/self/root")
    relative = os.path.relpath(outside, space.workspace)
    stand.shuts_out(
        space,
        (intruder.read, "link"),
        (intruder.write, "link"),
        (intruder.empty, "link"),
        (intruder.read, relative),
        (intruder.read, f"root/{outside}"),
        (intruder.read, f"/proc/self/root{outside}"),
        (intruder.read, f"/proc/self/cwd/{relative}"),
        (intruder.read, f"/proc/thread-self/root{outside}"),
        (intruder.reopen, outside),
        (intruder.climb, outside, 20),
        (intruder.hard_link, outside, "hard"),
        (intruder.rename, outside, "moved"),
    )
    if stand.walled:
        assert outside.read_text() == "outside"


def test_the_first_process_s_root_is_no_way_out(stand: Stand, outside: Path) -> None:
    """Of bubblewrap's own, or of the machine's, which only root may follow."""
    stand.shuts_out(stand.space("own"), (intruder.read, f"/proc/1/root{outside}"))


@EVERYWHERE
def test_nothing_can_be_written_beside_its_own(stand: Stand, outside: Path) -> None:
    space = stand.space("own")
    stand.shuts_out(
        space, (intruder.write, outside.parent / "new"), (intruder.make_folder, outside.parent / "folder")
    )
    if stand.walled:
        own = ["/tmp", "/dev/shm"] if stand.wall.level == "landlock" else ["/run/session"]
        system = (
            "/ /bin /boot /dev /etc /home /lib /mnt /opt /proc /root /run /srv /sys /usr /usr/bin /var /var/tmp"
        )
        stand.shuts_out(space, *((intruder.write, f"{path}/intruded") for path in [*system.split(), *own]))


def test_what_the_machine_keeps_to_itself_cannot_be_read(stand: Stand) -> None:
    space = stand.space("own")
    shut = [path for path in KEPT.split() if not any(each.is_relative_to(path) for each in stand.programs)]
    stand.shuts_out(space, *((verb, path) for path in shut for verb in (intruder.read, intruder.listing)))
    assert "got" in stand.attack(space, intruder.read, "/etc/nsswitch.conf")


@EVERYWHERE
def test_its_program_cannot_be_changed(stand: Stand, outside: Path) -> None:
    space = stand.space("own", programs=(*stand.programs, outside))
    stand.shuts_out(space, (intruder.write, outside), (intruder.empty, outside), (intruder.remove, outside))
    if stand.walled:
        assert "got" in stand.attack(space, intruder.read, outside)


@AS_ROOT
def test_devices_are_out_of_reach(stand: Stand) -> None:
    space = stand.space("own")
    stand.shuts_out(space, (intruder.make_device, "device"))
    if stand.walled:
        stand.shuts_out(space, *((intruder.open_device, f"/dev/{name}") for name in DEVICES.split()))
    assert "got" in stand.attack(space, intruder.open_device, "/dev/null")


@BY_ROOT
def test_no_program_makes_it_another_user(stand: Stand, outside: Path) -> None:
    """A copy of `id`, with root's rights for whoever runs it."""
    program = shutil.copy("/usr/bin/id", outside.parent / "id")
    os.chmod(program, 0o4755)
    stand.shuts_out(stand.space("own", programs=(*stand.programs, outside.parent)), (intruder.become_by, program))


@AS_ROOT
def test_it_can_give_its_files_neither_to_root_nor_capabilities(stand: Stand) -> None:
    stand.shuts_out(stand.space("own"), (intruder.give_away, "given"), (intruder.grant, "granted"))


def test_a_program_with_its_owner_s_rights_that_it_leaves_makes_nobody_more_than_itself(stand: Stand) -> None:
    """The mode is kept, the owner is who agents are: root that runs it becomes less."""
    space = stand.space("own")
    assert "got" in stand.attack(space, intruder.plant, "planted")
    planted = (space.workspace / "planted").stat()
    assert planted.st_mode & stat.S_ISUID
    assert planted.st_uid == (os.geteuid() if stand.agent_uid is None else stand.agent_uid)


def test_its_tmp_is_bounded_where_it_is_its_own(stand: Stand) -> None:
    space = stand.space("own")
    if stand.wall.level != "bwrap":
        stand.shuts_out(space, (intruder.fill, "/tmp/file"), (intruder.fill, "/dev/shm/file"))
        return
    for path in ("/tmp/file", "/dev/shm/file"):
        assert stand.attack(space, intruder.fill, path)["got"] == {"bytes": MIB, "stopped": "ENOSPC"}
    stand.shuts_out(space, (intruder.fill, "/dev/file"), (intruder.fill, "/file"), (intruder.fill, "/run/file"))
