"""Logins that go from the user to agents and back: what was renewed last is what counts, everywhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from clawdforge.server.agents.homes import AgentHome


@pytest.fixture
def login(tmp_path: Path) -> Path:
    """The user's own login, an hour old."""
    file = tmp_path / "user" / "login.json"
    file.parent.mkdir()
    written(file, "first", age_s=3600)
    return file


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


def home(data_dir: Path, session: str) -> AgentHome:
    return AgentHome(data_dir, "app_1", "agent", session)


def written(file: Path, text: str, *, age_s: float) -> None:
    file.write_text(text)
    then = file.stat().st_mtime - age_s
    os.utime(file, (then, then))


def test_a_renewed_login_outlives_the_start_of_a_second_session(data_dir: Path, login: Path) -> None:
    first, second = home(data_dir, "sess_1"), home(data_dir, "sess_2")
    first.prepare([str(login)], {})
    copy = first.path / login.name
    copy.write_text("renewed")
    second.prepare([str(login)], {})
    assert copy.read_text() == login.read_text() == "renewed"
    second.keep_login()
    first.keep_login()
    assert copy.read_text() == login.read_text() == "renewed"


def test_a_login_that_the_user_renewed_is_what_the_next_session_gets(data_dir: Path, login: Path) -> None:
    first = home(data_dir, "sess_1")
    first.prepare([str(login)], {})
    copy = first.path / login.name
    written(copy, "renewed by the agent", age_s=1800)
    written(login, "by the user", age_s=0)
    home(data_dir, "sess_2").prepare([str(login)], {})
    assert copy.read_text() == login.read_text() == "by the user"
    first.keep_login()
    assert login.read_text() == "by the user"


def test_a_login_that_cannot_be_copied_back_is_logged_and_tried_again(
    data_dir: Path, login: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = home(data_dir, "sess_1")
    first.prepare([str(login)], {})
    copy = first.path / login.name
    copy.write_text("a new token")
    folder, away = login.parent, login.parent.with_name("away")
    folder.rename(away)
    folder.write_text("in the way")
    first.keep_login()
    home(data_dir, "sess_2").prepare([str(login)], {})
    assert copy.read_text() == "a new token"
    assert "could not be copied back" in caplog.text
    assert "a new token" not in caplog.text
    folder.unlink()
    away.rename(folder)
    first.keep_login()
    assert login.read_text() == "a new token"


def test_a_login_that_cannot_replace_the_old_one_leaves_nothing_beside_it(data_dir: Path, login: Path) -> None:
    first = home(data_dir, "sess_1")
    first.prepare([str(login)], {})
    (first.path / login.name).write_text("renewed")
    login.unlink()
    login.mkdir()
    first.keep_login()
    assert list(login.parent.iterdir()) == [login]


def test_a_lock_that_cannot_be_taken_holds_up_no_end(
    data_dir: Path, login: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = home(data_dir, "sess_1")
    first.prepare([str(login)], {})
    (first.path / login.name).write_text("renewed")
    (data_dir / "login.lock").unlink()
    (data_dir / "login.lock").mkdir()
    first.keep_login()
    first.clear()
    assert "could not be copied back" in caplog.text
    assert not first.tmp.exists()


def test_what_an_agent_makes_of_a_key_is_no_login_of_its_users(data_dir: Path, login: Path) -> None:
    login.unlink()
    first = home(data_dir, "sess_1")
    first.prepare([str(login)], {})
    copy = first.path / login.name
    copy.write_text("a key")
    first.keep_login()
    assert not login.exists()
    home(data_dir, "sess_2").prepare([str(login)], {})
    assert not copy.exists(), "the key may be another by now"


def test_who_has_logged_out_is_logged_out_of_every_home(data_dir: Path, login: Path) -> None:
    first = home(data_dir, "sess_1")
    first.prepare([str(login)], {})
    login.unlink()
    home(data_dir, "sess_2").prepare([str(login)], {})
    assert not (first.path / login.name).exists()


def test_a_directory_in_the_place_of_a_login_is_no_login(data_dir: Path, login: Path) -> None:
    first = home(data_dir, "sess_1")
    first.prepare([str(login)], {})
    copy = first.path / login.name
    copy.unlink()
    copy.mkdir()
    first.keep_login()
    assert login.read_text() == "first"


def test_our_own_files_of_a_home_are_as_we_have_them_at_every_start(data_dir: Path) -> None:
    ours = {".agent/settings.json": '{"updates": false}'}
    first = home(data_dir, "sess_1")
    first.prepare([], ours)
    file = first.path / ".agent" / "settings.json"
    assert file.read_text() == ours[".agent/settings.json"]
    made = file.stat().st_ino
    first.prepare([], ours)
    assert file.stat().st_ino == made, "one that is right is left alone"
    file.write_text('{"updates": true}')
    home(data_dir, "sess_2").prepare([], ours)
    assert file.read_text() == ours[".agent/settings.json"]
