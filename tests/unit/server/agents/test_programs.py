"""What is shown of this machine to an agent, so that its program runs: enough, and not more."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import clawdforge
from clawdforge.server.agents.programs import CannotBeShown, consists_of, path_inside

Made = Callable[..., Path]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of the gateway's user, and no program on the PATH but the system's."""
    home = tmp_path / "home" / "user"
    home.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    return home


@pytest.fixture
def data_dir(home: Path) -> Path:
    path = home / ".local" / "share" / "clawdforge"
    path.mkdir(parents=True)
    return path


@pytest.fixture
def made(home: Path) -> Made:
    """Makes a program below the home: a native one, a script of an interpreter's, or a link."""

    def program(name: str, script_of: str | None = None, to: str | None = None) -> Path:
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if to is not None:
            path.symlink_to(to)
            return path
        path.write_bytes(b"\x7fELF" if script_of is None else f"#!{script_of}\n".encode())
        path.chmod(0o755)
        return path

    return program


def shown(*argv: str | Path, readable: tuple[str, ...] = (), data_dir: Path | None = None) -> set[Path]:
    return set(consists_of([str(each) for each in argv], readable, data_dir))


def test_a_program_of_the_system_needs_nothing_more(home: Path) -> None:
    assert shown("/bin/sh", "-c", "exit 0", "/usr/bin/env", "relative/path", "/not/there") == set()


def test_a_program_of_its_own_is_that_file_and_nothing_beside_it(home: Path, made: Made) -> None:
    assert shown(made("bin/agent"), "--fast") == {home / "bin/agent"}
    assert shown(made("agent")) == {home / "agent"}


def test_a_package_of_npm_is_seen_with_all_that_it_may_look_for(home: Path, made: Made) -> None:
    made("app/node_modules/@x/agent/node_modules/y/dist/cli.js", script_of="/usr/bin/env sh")
    link = made("app/node_modules/.bin/agent", to="../@x/agent/node_modules/y/dist/cli.js")
    assert shown(link) == {home / "app/node_modules"}


def test_a_shim_is_seen_with_the_versions_that_it_chooses_from(
    home: Path, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    shim = made(".pyenv/shims/python3", script_of="/usr/bin/env bash")
    made(".pyenv/versions/3.11.7/bin/python3")
    assert shown(shim) == {home / ".pyenv"}
    monkeypatch.setenv("PATH", f"{shim.parent}:/usr/bin")
    script = made("agent", script_of="/usr/bin/env python3")
    assert shown(script) == {home / ".pyenv", script}


@pytest.mark.parametrize("name", ["shims/agent", "app/shims/agent"])
def test_a_directory_of_that_name_alone_shows_nothing_more(home: Path, made: Made, name: str) -> None:
    (home / "versions").mkdir()  # beside the first, but it is the home
    assert shown(made(name)) == {home / name}


def test_an_agent_that_clawdforge_installed_is_seen_by_its_name_and_where_it_lies(
    data_dir: Path, made: Made
) -> None:
    agents = data_dir / "agents"
    made(".local/share/clawdforge/agents/.claude-1/node_modules/x/cli.js", script_of="/bin/sh")
    made(".local/share/clawdforge/agents/.claude-1/node_modules/.bin/claude", to="../x/cli.js")
    made(".local/share/clawdforge/agents/claude", to=".claude-1")
    expected = {agents / "claude/node_modules", agents / ".claude-1/node_modules"}
    assert shown(agents / "claude/node_modules/.bin/claude", data_dir=data_dir) == expected


def test_what_a_link_leads_to_is_seen_with_the_directory_that_an_installer_made_for_it(
    home: Path, data_dir: Path, made: Made
) -> None:
    made(".local/share/agent/versions/1.2/agent")
    made(".local/share/agent/current", to="versions/1.2")
    link = made(".local/bin/agent", to="../share/agent/current/agent")
    found = shown(link, data_dir=data_dir)
    assert found == {
        home / ".local/bin",
        home / ".local/share/agent/current",
        home / ".local/share/agent/versions/1.2",
    }


def test_a_link_in_the_home_itself_does_not_show_the_home(home: Path, made: Made) -> None:
    made("tools/bin/agent")
    assert shown(made("agent", to="tools/bin/agent")) == {home / "agent", home / "tools/bin/agent"}


def test_links_in_a_circle_are_no_endless_way(home: Path, made: Made) -> None:
    first = made("a", to="b")
    made("b", to="a")
    assert shown(first) <= {home / "a", home / "b"}


def test_an_interpreter_that_a_first_line_names_comes_with_its_prefix(
    home: Path, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(".nvm/versions/node/v20/bin/node")
    agent = made("agent/cli", script_of="/usr/bin/env -S node --no-warnings")
    assert shown(agent) == {agent}, "no node is on the PATH"
    prefix = home / ".nvm/versions/node/v20"
    monkeypatch.setenv("PATH", f"{prefix}/bin:/usr/bin:/bin")
    found = shown(agent)
    assert found == {agent, prefix}
    assert path_inside(os.environ["PATH"], tuple(found)) == f"{prefix}/bin:/usr/bin:/bin:/usr/local/bin"


def test_an_interpreter_beside_other_programs_of_the_user_is_that_file(home: Path, made: Made) -> None:
    node = made("bin/node")
    agent = made("agent/cli", script_of=str(node))
    assert shown(agent) == {agent, node}


def test_a_python_comes_with_its_environment_its_base_and_what_is_installed_as_editable(
    home: Path, made: Made
) -> None:
    base = made("pythons/3.12/bin/python3.12")
    python = made("venv/bin/python", to=str(base))
    (home / "venv/pyvenv.cfg").write_text(f"home = {base.parent}\nversion = 3.12.1\n")
    packages = home / "venv/lib/python3.12/site-packages"
    packages.mkdir(parents=True)
    (home / "project/src").mkdir(parents=True)
    (packages / "mine.pth").write_text(f"import os\n{home / 'project/src'}\n{home}\n{home / 'gone'}\n")
    expected = {home / "venv", home / "pythons/3.12", home / "project/src"}
    assert shown(python, "-m", "agent") == expected
    assert shown(made("venv/bin/agent", script_of=str(python))) == expected


def test_our_own_python_finds_the_project_and_what_it_was_made_with() -> None:
    found = consists_of([sys.executable, "-m", "clawdforge.local_agent"])

    def seen(path: str) -> bool:
        return any(Path(path).is_relative_to(each) for each in (*found, Path("/usr")))

    assert seen(sys.prefix)
    assert seen(os.path.realpath(sys.executable))
    assert seen(os.__file__)
    assert seen(clawdforge.__file__)


def test_files_on_the_command_line_are_seen(home: Path, made: Made) -> None:
    script, weights = made("mine/agent.py"), made("models/weights.gguf")
    (home / "mine/.env").write_text("not for agents")
    assert shown("/bin/sh", script, "--weights", weights) == {script, weights}


@pytest.mark.parametrize("what", ["/", "~", "~/..", "~/.local/share", "~/.local/share/clawdforge"])
def test_what_holds_the_home_or_the_data_directory_is_refused(data_dir: Path, what: str) -> None:
    with pytest.raises(CannotBeShown, match="no agent may see all of that"):
        shown("/bin/sh", readable=(what,), data_dir=data_dir)
    with pytest.raises(CannotBeShown, match="command line"):
        shown("/bin/sh", Path(what).expanduser(), data_dir=data_dir)


def test_a_link_to_what_is_refused_is_refused(home: Path, made: Made) -> None:
    with pytest.raises(CannotBeShown):
        shown("/bin/sh", readable=(str(made("all", to=str(home))),))


@pytest.mark.parametrize("name", ["homes", "workspaces/sess_1", "clawdforge.db"])
def test_of_the_data_directory_nothing_but_programs_is_seen(data_dir: Path, name: str) -> None:
    path = data_dir / name
    path.mkdir(parents=True)
    with pytest.raises(CannotBeShown):
        shown("/bin/sh", path, data_dir=data_dir)
    (data_dir / "models").mkdir()
    assert shown("/bin/sh", data_dir / "models", data_dir=data_dir) == {data_dir / "models"}


def test_what_the_settings_name_is_seen(home: Path, data_dir: Path, made: Made) -> None:
    made(".pyenv/libexec/pyenv")
    link = made("tools", to=".pyenv/libexec")
    found = shown(made("agent"), readable=("~/.pyenv", str(link)), data_dir=data_dir)
    assert found == {home / "agent", home / ".pyenv", link}


@pytest.mark.parametrize(
    ("name", "why"), [("~/not-there", "not there"), ("relative", "not there"), ("/etc/ssl", "copy")]
)
def test_what_the_settings_name_in_vain_is_told(home: Path, name: str, why: str) -> None:
    with pytest.raises(CannotBeShown, match=why):
        shown("/bin/sh", readable=(name,))


def test_an_agent_that_is_installed_anew_is_looked_for_anew(home: Path, made: Made) -> None:
    made("v1/node_modules/x/cli", script_of="/bin/sh")
    made("v2/node_modules/x/cli", script_of="/bin/sh")
    made("now", to="v1")
    agent = home / "now/node_modules/x/cli"
    assert home / "v1/node_modules" in shown(agent)
    (home / "now").unlink()
    made("now", to="v2")
    assert home / "v2/node_modules" in shown(agent)


def test_a_path_has_what_is_seen_and_the_usual_directories() -> None:
    assert path_inside("", ()) == "/usr/local/bin:/usr/bin:/bin"
    own = (Path("/opt/tool"), Path("/home/user/bin/agent"))
    path = "/home/user/bin:relative::/opt/tool/bin:/opt/other/bin:/sbin:/usr/bin:/usr/bin"
    assert path_inside(path, own) == "/home/user/bin:/opt/tool/bin:/sbin:/usr/bin:/usr/local/bin:/bin"


def test_a_program_that_is_written_anew_is_looked_at_anew(home: Path, made: Made) -> None:
    first, second = made("one/bin/interpreter"), made("two/bin/interpreter")
    script = made("agent", script_of=str(first))
    assert shown(script) == {script, first}
    script.write_text(f"#!{second}\n")
    os.utime(script, ns=(0, script.stat().st_mtime_ns + 1))  # a clock may be coarse
    assert shown(script) == {script, second}
