"""What a person hears where a wall does not work. That they do, where they do: tests/contract/sandbox."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from clawdforge.server.sandbox import launcher, probe
from clawdforge.server.sandbox.base import WallUnavailable

UID = 64_001


def program(directory: Path, name: str, text: str) -> None:
    path = directory / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_no_wall_is_only_chosen_when_it_is_asked_for(tmp_path: Path) -> None:
    assert probe.wall("none", tmp_path, UID).level == "none"


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
    monkeypatch.setattr(launcher, "abi", lambda: 0)
    with pytest.raises(WallUnavailable, match=r"landlock: the kernel has no Landlock.*Linux 6\.2"):
        probe.wall("landlock", tmp_path, UID)


def test_where_nothing_works_every_reason_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir()
    program(bin_dir, "bwrap", "exit 1")
    monkeypatch.setenv("PATH", str(bin_dir), prepend=os.pathsep)
    monkeypatch.setattr(launcher, "abi", lambda: 0)
    with pytest.raises(WallUnavailable, match=r"no wall works on this machine.*bwrap: .*landlock: "):
        probe.wall(None, tmp_path, UID)
