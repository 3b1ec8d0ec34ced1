from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from clawdforge.server.apps.admin import FILE_NAME, AdminToken, AdminTokenUnusable


def test_a_token_is_made_once_and_kept_private(tmp_path: Path) -> None:
    made = AdminToken.open(tmp_path, None)
    file = tmp_path / FILE_NAME
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert made.where == str(file)
    token = file.read_bytes().strip()
    assert len(token) >= 43
    again = AdminToken.open(tmp_path, None)
    assert made.is_admin(token)
    assert again.is_admin(token)
    assert os.listdir(tmp_path) == [FILE_NAME]
    assert token.decode() not in repr(vars(made))


def test_two_gateways_have_two_tokens(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        AdminToken.open(tmp_path / name, None)
    assert (tmp_path / "a" / FILE_NAME).read_text() != (tmp_path / "b" / FILE_NAME).read_text()


def test_a_given_token_counts_and_makes_no_file(tmp_path: Path) -> None:
    token = AdminToken.open(tmp_path, "dès maintenant, celui-ci")
    assert token.is_admin("dès maintenant, celui-ci".encode())
    assert not token.is_admin(b"")
    assert not token.is_admin(b"another one, as long as it is")
    assert os.listdir(tmp_path) == []
    assert token.where == "CLAWDFORGE_ADMIN_TOKEN"


def test_a_file_that_others_could_read_is_made_private(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("one that was copied here\n")
    (tmp_path / FILE_NAME).chmod(0o644)
    assert AdminToken.open(tmp_path, None).is_admin(b"one that was copied here")
    assert stat.S_IMODE((tmp_path / FILE_NAME).stat().st_mode) == 0o600


@pytest.mark.parametrize("content", ["", "short", " " * 50])
def test_a_file_without_a_token_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE_NAME).write_text(content)
    with pytest.raises(AdminTokenUnusable, match="holds no token"):
        AdminToken.open(tmp_path, None)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("a token of somebody else's making")
    (tmp_path / FILE_NAME).symlink_to(tmp_path / "theirs")
    with pytest.raises(AdminTokenUnusable):
        AdminToken.open(tmp_path, None)


def test_a_link_to_nowhere_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).symlink_to(tmp_path / "nowhere")
    (tmp_path / (FILE_NAME + ".new")).symlink_to(tmp_path / "nowhere")
    with pytest.raises(AdminTokenUnusable):
        AdminToken.open(tmp_path, None)
    assert not (tmp_path / "nowhere").exists()


def test_a_pipe_does_not_stop_the_gateway(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / FILE_NAME)
    with pytest.raises(AdminTokenUnusable, match="is no file"):
        AdminToken.open(tmp_path, None)


def test_what_a_crash_left_is_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / (FILE_NAME + ".new")).write_text("half a tok")
    AdminToken.open(tmp_path, None)
    assert os.listdir(tmp_path) == [FILE_NAME]
