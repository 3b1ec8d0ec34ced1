"""The home of a session's agent: what it may start with, and what becomes of the user's login in it."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from clawdforge.server.agents import homes
from clawdforge.server.agents.homes import AgentHome

SETTINGS = ".agent/settings.json"


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


def started(data_dir: Path, session: str, login: Path) -> tuple[AgentHome, Path]:
    """The home of an agent that starts, and the copy of the login in it."""
    home = AgentHome(data_dir, session)
    home.prepare([str(login)])
    return home, home.path / login.name


def written(file: Path, text: str, *, age_s: float) -> None:
    file.write_text(text)
    then = file.stat().st_mtime - age_s
    os.utime(file, (then, then))


# --- logins ------------------------------------------------------------------------------------------------------


def test_a_login_is_in_a_home_for_as_long_as_its_agent_runs(data_dir: Path, login: Path) -> None:
    home, copy = started(data_dir, "sess_1", login)
    assert (copy.read_text(), home.holds(str(login))) == ("first", True)
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    (home.path / "notes").write_text("of the agent's own")
    home.clear()
    assert not copy.exists()
    assert not home.tmp.exists()
    assert (home.path / "notes").exists()
    assert login.read_text() == "first"


def test_a_renewed_login_goes_to_the_user_and_to_the_agents_that_run(data_dir: Path, login: Path) -> None:
    first, copy = started(data_dir, "sess_1", login)
    second, other = started(data_dir, "sess_2", login)
    copy.write_text("renewed")
    first.keep_login()
    assert login.read_text() == other.read_text() == "renewed"
    second.clear()
    first.clear()
    assert login.read_text() == "renewed"
    _, third = started(data_dir, "sess_3", login)
    assert third.read_text() == "renewed"


def test_a_login_that_somebody_renewed_meanwhile_is_not_replaced_by_an_older_one(
    data_dir: Path, login: Path
) -> None:
    home, copy = started(data_dir, "sess_1", login)
    written(copy, "renewed by the agent", age_s=1800)
    written(login, "by the user", age_s=0)
    home.keep_login()
    assert login.read_text() == "by the user"
    home.clear()
    assert not copy.exists()


@pytest.mark.parametrize(
    "left",
    ['{"tokens": {"acc', "", "{}", '{"tokens": null}', "[1]", "[" * 100_000, '{"tokens": "\udc80"}'],
    ids=ascii,
)
def test_what_can_be_no_login_is_not_taken_for_a_renewed_one(
    data_dir: Path, login: Path, left: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Half of one, by an agent that was ended as it wrote; one of which an agent has logged out."""
    whole = '{"tokens": {"access": "a", "refresh": "b"}}'
    written(login, whole, age_s=3600)
    first, copy = started(data_dir, "sess_1", login)
    second, other = started(data_dir, "sess_2", login)
    copy.write_bytes(left.encode("utf-8", "surrogateescape"))
    first.keep_login()
    assert login.read_text() == other.read_text() == whole
    assert "is no login, and is not copied back" in caplog.text
    first.clear()
    assert not copy.exists()
    other.write_text('{"tokens": {"access": "c"}, "by": "another version"}')
    second.clear()
    assert json.loads(login.read_text())["by"] == "another version"


def test_what_a_login_of_the_user_s_is_otherwise_stays(data_dir: Path, login: Path) -> None:
    link = login.with_name("link.json")
    link.symlink_to(login)
    login.chmod(0o640)
    home, copy = started(data_dir, "sess_1", link)
    copy.write_text("renewed")
    home.clear()
    assert link.is_symlink()
    assert login.read_text() == "renewed"
    assert stat.S_IMODE(login.stat().st_mode) == 0o640


def test_a_login_that_cannot_be_copied_back_is_logged_and_tried_again(
    data_dir: Path, login: Path, caplog: pytest.LogCaptureFixture
) -> None:
    home, copy = started(data_dir, "sess_1", login)
    copy.write_text("a new token")
    folder, away = login.parent, login.parent.with_name("away")
    folder.rename(away)
    folder.write_text("in the way")
    home.clear()
    assert copy.read_text() == "a new token"
    assert "could not be copied back" in caplog.text
    assert "a new token" not in caplog.text
    _, copy = started(data_dir, "sess_1", login)
    assert copy.read_text() == "a new token"
    folder.unlink()
    away.rename(folder)
    home, copy = started(data_dir, "sess_1", login)
    assert copy.read_text() == login.read_text() == "a new token"
    home.clear()
    assert not copy.exists()


def test_a_login_that_cannot_replace_the_old_one_leaves_nothing_beside_it(data_dir: Path, login: Path) -> None:
    home, copy = started(data_dir, "sess_1", login)
    copy.write_text("renewed")
    login.unlink()
    login.mkdir()
    home.keep_login()
    assert list(login.parent.iterdir()) == [login]


def test_a_lock_that_cannot_be_taken_holds_up_no_end(
    data_dir: Path, login: Path, caplog: pytest.LogCaptureFixture
) -> None:
    home, copy = started(data_dir, "sess_1", login)
    copy.write_text("renewed")
    (data_dir / "login.lock").unlink()
    (data_dir / "login.lock").mkdir()
    home.clear()
    assert "could not be copied back" in caplog.text
    assert not home.tmp.exists()


def test_what_an_agent_makes_of_a_key_is_no_login_of_its_users(data_dir: Path, login: Path) -> None:
    login.unlink()
    home, copy = started(data_dir, "sess_1", login)
    copy.write_text("a key")
    home.clear()
    assert not login.exists()
    _, copy = started(data_dir, "sess_1", login)
    assert not copy.exists(), "the key may be another by now"


def test_who_logs_out_while_an_agent_runs_stays_logged_out(data_dir: Path, login: Path) -> None:
    home, copy = started(data_dir, "sess_1", login)
    copy.write_text("renewed")
    login.unlink()
    home.clear()
    assert not login.exists()
    assert not copy.exists()


def test_a_directory_in_the_place_of_a_login_is_no_login_and_goes(data_dir: Path, login: Path) -> None:
    home, copy = started(data_dir, "sess_1", login)
    copy.unlink()
    (copy / "below").mkdir(parents=True)
    home.clear()
    assert login.read_text() == "first"
    _, copy = started(data_dir, "sess_1", login)
    assert copy.read_text() == "first"


def test_a_link_in_the_place_of_a_login_is_not_followed(data_dir: Path, login: Path, tmp_path: Path) -> None:
    home, copy = started(data_dir, "sess_1", login)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("of somebody else")
    copy.unlink()
    copy.symlink_to(elsewhere)
    home.clear()
    assert (login.read_text(), elsewhere.read_text()) == ("first", "of somebody else")
    _, copy = started(data_dir, "sess_1", login)
    assert not copy.is_symlink()
    assert (copy.read_text(), elsewhere.read_text()) == ("first", "of somebody else")


def test_after_a_crash_a_renewed_login_is_kept_and_no_copy_is_left(data_dir: Path, login: Path) -> None:
    home, copy = started(data_dir, "sess_1", login)
    _, older = started(data_dir, "sess_2", login)
    copy.write_text("renewed")
    written(older, "renewed long before", age_s=7200)
    homes.clear_leftovers(data_dir)
    assert login.read_text() == "renewed"
    assert not copy.exists()
    assert not older.exists()
    assert not home.tmp.exists()
    assert home.path.is_dir()


def test_after_a_crash_only_what_was_a_login_of_that_agent_counts(data_dir: Path, login: Path) -> None:
    other = login.with_name("other.json")
    written(other, "of another agent", age_s=3600)
    home, _ = started(data_dir, "sess_1", login)
    (home.path / other.name).write_text("planted")
    homes.clear_leftovers(data_dir)
    assert other.read_text() == "of another agent"


# --- files of ours, and what an agent planted --------------------------------------------------------------------


def test_our_own_files_of_a_home_are_as_we_have_them_at_every_start(data_dir: Path) -> None:
    home = AgentHome(data_dir, "sess_1")
    home.prepare(home_files={SETTINGS: "ours"})
    assert (home.path / SETTINGS).read_text() == "ours"
    (home.path / SETTINGS).write_text("the agent's")
    home.prepare(home_files={SETTINGS: "ours"})
    assert (home.path / SETTINGS).read_text() == "ours"


def test_what_could_give_an_agent_rights_is_gone_at_its_next_start(data_dir: Path) -> None:
    home = AgentHome(data_dir, "sess_1")
    home.prepare()
    for name in (".agent/hooks/x.sh", ".agent/talks/1/words", ".agent/more/talks/2", ".agent.json", "work/notes"):
        (home.path / name).parent.mkdir(parents=True, exist_ok=True)
        (home.path / name).write_text("of the agent's")
    home.prepare(
        home_files={SETTINGS: "ours"}, resets=(".agent", ".agent.json", ".not-there"), keeps=(".agent/talks/*",)
    )
    left = {str(each.relative_to(home.path)) for each in home.path.rglob("*") if each.is_file()}
    assert left == {SETTINGS, ".agent/talks/1/words", "work/notes"}


@pytest.mark.parametrize("where", [".agent", ".agent/talks"])
def test_a_link_that_an_agent_planted_is_not_followed(data_dir: Path, tmp_path: Path, where: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").write_text("of somebody else")
    home = AgentHome(data_dir, "sess_1")
    home.prepare()
    (home.path / where).parent.mkdir(exist_ok=True)
    (home.path / where).symlink_to(elsewhere)
    home.prepare(
        home_files={SETTINGS: "ours", ".agent/talks/ours": "ours"}, resets=(".agent",), keeps=(".agent/talks/*",)
    )
    assert [each.name for each in elsewhere.iterdir()] == ["file"]
    assert (home.path / ".agent/talks/ours").read_text() == "ours"
    assert not (home.path / where).is_symlink()


# --- the session's own -------------------------------------------------------------------------------------------


def test_each_session_has_a_home_of_its_own_and_it_stays_when_the_agent_ends(data_dir: Path) -> None:
    first, second = AgentHome(data_dir, "sess_1"), AgentHome(data_dir, "sess_2")
    for home in (first, second):
        home.prepare()
        (home.path / "memory").write_text("of this session")
        home.clear()
    assert first.path != second.path
    assert (first.path / "memory").exists()
    assert stat.S_IMODE(first.path.stat().st_mode) == 0o700


def test_a_file_that_a_variable_names_is_handed_over_for_as_long_as_the_agent_runs(
    data_dir: Path, tmp_path: Path
) -> None:
    key = tmp_path / "key.json"
    key.write_text('{"private_key": "abc"}')
    home = AgentHome(data_dir, "sess_1")
    home.prepare()
    copy = home.bring("CREDENTIALS", str(key))
    assert copy is not None
    assert copy.is_relative_to(home.tmp)
    assert copy.read_text() == key.read_text()
    assert home.logins() == [key.read_bytes()]
    assert home.bring("CREDENTIALS", str(tmp_path / "not-there")) is None
    home.clear()
    assert not copy.exists()
    assert key.exists()


def test_all_that_is_in_a_home_belongs_to_its_agent(data_dir: Path, login: Path) -> None:
    agent_uid = 64_001 if os.geteuid() == 0 else os.geteuid()
    login.chmod(0o640)
    home = AgentHome(data_dir, "sess_1", agent_uid)
    home.prepare([str(login)], {SETTINGS: "ours"})
    written = home.write_tmp("system.md", "a prompt")
    for path in (home.path, home.tmp, home.path / login.name, home.path / SETTINGS, written):
        assert path.stat().st_uid == agent_uid
    (home.path / login.name).write_text("renewed")
    home.clear()
    assert (login.stat().st_uid, stat.S_IMODE(login.stat().st_mode)) == (os.geteuid(), 0o640), "its user's"
    assert login.read_text() == "renewed"
