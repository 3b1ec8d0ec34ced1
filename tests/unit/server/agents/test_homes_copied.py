"""A home copied for the agent of a fork: what it remembers, and nothing that gives it rights or a login."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from clawdforge.server.agents.homes import AgentHome
from clawdforge.server.workspaces import paths
from clawdforge.server.workspaces.copying import Limits, TooMuch

OWNER = 64_001 if os.geteuid() == 0 else None
PLENTY = Limits(None)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    home = AgentHome(tmp_path, "sess_a", OWNER)
    home.prepare()
    (home.path / ".fake/chats").mkdir(parents=True)
    (home.path / ".fake/chats/1").write_text("what was said")
    (home.path / ".fake/login.json").write_text("a secret")
    (home.path / ".fake/settings").write_text("allow all")
    (home.path / "note").write_text("a note")
    return home.path


def copied(data_dir: Path, limits: Limits = PLENTY) -> Path:
    home = AgentHome(data_dir, "sess_b", OWNER)
    home.copy_from("sess_a", limits, lambda: None, ("~/.fake/login.json",), (".fake",), (".fake/chats",))
    return home.path


def held(home: Path) -> dict[str, str]:
    return {str(path.relative_to(home)): path.read_text() for path in home.rglob("*") if path.is_file()}


def test_conversations_are_copied_and_neither_rights_nor_logins(source: Path, tmp_path: Path) -> None:
    before = held(source)
    home = copied(tmp_path)
    assert held(home) == {".fake/chats/1": "what was said", "note": "a note"}
    assert held(source) == before
    wanted = os.geteuid() if OWNER is None else OWNER
    assert {path.lstat().st_uid for path in (home, *home.rglob("*"))} == {wanted}
    assert home.stat().st_mode & 0o777 == 0o700


def test_a_login_is_never_in_the_copy_not_even_for_a_moment(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing is reset, too."""
    home = AgentHome(tmp_path, "sess_b", OWNER)
    seen: set[str] = set()
    home.copy_from("sess_a", PLENTY, lambda: seen.update(held(home.path)), ("~/.fake/login.json",))
    assert ".fake/login.json" not in seen | set(held(home.path))
    assert held(home.path)[".fake/settings"] == "allow all"


def test_a_session_without_a_home_leaves_the_other_without(tmp_path: Path) -> None:
    assert not copied(tmp_path).exists()


def test_a_home_that_is_too_large_is_not_copied_in_part(source: Path, tmp_path: Path) -> None:
    with pytest.raises(TooMuch):
        copied(tmp_path, Limits(5))
    assert not paths.home_of(tmp_path, "sess_b").exists()


def test_the_copy_s_agent_starts_in_it(source: Path, tmp_path: Path) -> None:
    copied(tmp_path)
    home = AgentHome(tmp_path, "sess_b", OWNER)
    home.prepare(resets=(".fake",), keeps=(".fake/chats",))
    assert held(home.path) == {".fake/chats/1": "what was said", "note": "a note"}
