"""The data directory's owner and its id."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from clawdforge.server.data_dir import DataDirectory, DirectoryBusy

ROOT = os.geteuid() == 0


def gateway_id(path: Path) -> str:
    directory = DataDirectory(path)
    directory.release()
    return directory.gateway_id


def test_the_id_stays_over_the_lives_of_a_gateway(tmp_path: Path) -> None:
    first = gateway_id(tmp_path / "a")
    assert len(first) == 32
    assert gateway_id(tmp_path / "a") == first
    assert gateway_id(tmp_path / "b") != first
    assert {each.name for each in (tmp_path / "a").iterdir()} == {"gateway-id", "gateway.lock"}


def test_it_is_closed_and_only_agents_of_another_user_may_pass_it(tmp_path: Path) -> None:
    directory = tmp_path / "a"
    gateway_id(directory)
    assert stat.S_IMODE(directory.stat().st_mode) == (0o711 if ROOT else 0o700)
    assert {stat.S_IMODE(each.stat().st_mode) for each in directory.iterdir()} == {0o600}


def test_one_that_was_open_is_closed(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    gateway_id(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == (0o711 if ROOT else 0o700)


def test_a_directory_that_all_users_share_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    (tmp_path / "of-somebody").touch(0o644)
    with pytest.raises(DirectoryBusy, match=f"shared by all users: .*--data-dir {tmp_path}/clawdforge"):
        DataDirectory(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o1777
    assert stat.S_IMODE((tmp_path / "of-somebody").stat().st_mode) == 0o644


@pytest.mark.parametrize("left", ["", "\n"])
def test_an_empty_id_is_made_anew(tmp_path: Path, left: str) -> None:
    (tmp_path / "gateway-id").write_text(left)
    (tmp_path / "gateway-id.new").write_text("half")
    made = gateway_id(tmp_path)
    assert len(made) == 32
    assert gateway_id(tmp_path) == made


def test_an_id_that_cannot_be_read_is_told_and_the_directory_is_free_again(tmp_path: Path) -> None:
    (tmp_path / "gateway-id").mkdir()
    with pytest.raises(DirectoryBusy, match="gateway-id"):
        DataDirectory(tmp_path)
    (tmp_path / "gateway-id").rmdir()
    assert gateway_id(tmp_path)
