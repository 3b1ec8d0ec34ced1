"""Whom a program is open to, and where it must not lie."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from clawdforge.server.agents.programs import CannotBeShown, consists_of
from clawdforge.server.agents.reach import check_places, check_way

AGENT_UID = 64_001


def way(*argv: str | Path, bound: bool = False, uid: int = AGENT_UID) -> str:
    """What keeps agents from a program; "" where nothing does."""
    words = [str(each) for each in argv]
    try:
        check_way(words, consists_of(words), uid, bound=bound)
    except CannotBeShown as problem:
        return str(problem)
    return ""


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A directory to which everybody has a way; those of pytest are closed."""
    with tempfile.TemporaryDirectory(prefix="programs-", dir="/var/tmp") as name:
        Path(name).chmod(0o711)
        yield Path(name)


def script(path: Path, of: str | Path = "/bin/sh") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!{of}\n")
    path.chmod(0o755)
    return path


def test_a_directory_that_agents_may_not_pass_is_named_with_what_opens_it(open_place: Path) -> None:
    program = script(open_place / "shut up" / "bin" / "agent")
    assert way(program) == ""
    shut = open_place / "shut up"
    shut.chmod(0o700)
    assert f"who may not pass {shut}: let others (chmod o+x '{shut}')" in way(program)
    assert way(program, bound=True) == "", "a wall that shows it puts it where they may go"
    assert way(program, uid=os.geteuid()) == ""
    shut.chmod(0o711)
    program.chmod(0o700)
    assert f"who may not run {program}: let others (chmod o+rx " in way(program)
    assert f"may not run {program}" in way(program, bound=True)


def test_the_way_to_what_a_program_needs_is_looked_at_too(open_place: Path) -> None:
    program = script(open_place / "bin" / "agent", of=script(open_place / "own" / "bin" / "interpreter"))
    library = script(open_place / "lib" / "of-it")
    assert way(program, library) == ""
    library.chmod(0o700)
    assert f"may not read {library}: let others (chmod o+r " in way(program, library)
    link = open_place / "links" / "agent"
    link.parent.mkdir()
    link.symlink_to(program)
    link.parent.chmod(0o700)
    assert f"may not pass {link.parent}:" in way(link)
    (open_place / "own").chmod(0o700)
    assert f"may not pass {open_place / 'own'}:" in way(program)


def test_what_would_hide_an_agent_s_own_directories_or_be_hidden_by_them_is_refused() -> None:
    own = ("/workspace", "/home/agent")
    for path in ("/home/agent/.nvm/bin/node", "/workspace", "/home"):
        with pytest.raises(CannotBeShown, match=f"{path} is needed to run it, .* of their own: put it elsewhere"):
            check_places([Path("/opt/x"), Path(path)], own)
    check_places([Path("/opt/x"), Path("/home/agents/x"), Path("/workspaces"), Path("/tmp/x")], own)
