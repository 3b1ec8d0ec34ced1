"""What can be started here: looked up, never started."""

from __future__ import annotations

import dataclasses
import json
import platform
import re
from pathlib import Path

import pytest

from clawdforge.server.agents.available import Unavailable, find, info, installed_dir
from clawdforge.server.agents.catalog import catalog
from clawdforge.server.agents.entry import AgentEntry
from clawdforge.server.agents.known import BUILT_IN
from clawdforge.server.settings import AgentSettings


def program(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_an_installed_agent_is_found_below_the_data_directory_before_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = program(tmp_path / "bin", "mine-acp")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    entry = AgentEntry(name="mine", title="Mine", argv=("mine-acp", "--flag"))
    assert find(entry, tmp_path) == (str(elsewhere), "--flag")
    here = program(installed_dir(tmp_path, "mine") / "node_modules" / ".bin", "mine-acp")
    assert find(entry, tmp_path) == (str(here), "--flag")


def test_a_program_for_this_machine_is_started_without_its_wrapper(tmp_path: Path) -> None:
    wrapper = program(tmp_path, "mine-acp")
    entry = AgentEntry(name="mine", title="Mine", argv=(str(wrapper), "--flag"), native=True)
    program(tmp_path, "mine-acp-plan9-mips")
    assert find(entry, tmp_path) == (str(wrapper), "--flag"), "of another machine"
    cpu = {"x86_64": "x64", "aarch64": "arm64"}[platform.machine()]
    native = program(tmp_path, f"mine-acp-linux-{cpu}")
    assert find(entry, tmp_path) == (str(native), "--flag")
    assert find(dataclasses.replace(entry, native=False), tmp_path) == (str(wrapper), "--flag")


def test_a_missing_program_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    claude = info(BUILT_IN["claude"], tmp_path)
    assert (claude.available, claude.version) == (False, None)
    assert claude.reason is not None
    assert "clawdforge agents install claude" in claude.reason
    with pytest.raises(Unavailable, match=r"\[agents.goose\] argv"):
        find(AgentEntry(name="goose", title="Goose", argv=("goose",)), tmp_path)


def test_a_missing_python_module_is_not_available(tmp_path: Path) -> None:
    entry = AgentEntry(name="x", title="X", argv=("{python}", "-I", "-m", "no_such_module_here"))
    with pytest.raises(Unavailable, match="no_such_module_here"):
        find(entry, tmp_path)


def test_a_script_beside_the_gateway_is_named_absolutely(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    program(tmp_path, "my_agent.py")
    program(tmp_path, "acp")
    entry = AgentEntry(name="mine", title="Mine", argv=("python3", "my_agent.py", "acp", "--flag", "other.py"))
    assert find(entry, tmp_path)[1:] == (str(tmp_path / "my_agent.py"), "acp", "--flag", "other.py")


def test_the_version_is_read_from_the_package_that_the_program_belongs_to(tmp_path: Path) -> None:
    package = tmp_path / "lib" / "the-package"
    real = program(package / "dist", "index.js")
    (package / "package.json").write_text(json.dumps({"name": "the-package", "version": "1.2.3"}))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "tool").symlink_to(real)
    entry = AgentEntry(name="tool", title="Tool", argv=(str(tmp_path / "bin" / "tool"),))
    assert info(entry, tmp_path).version == "1.2.3"
    (package / "package.json").write_text("{ no json")
    assert info(entry, tmp_path).version is None


def test_settings_change_an_entry_and_add_another(tmp_path: Path) -> None:
    entries = catalog(
        {
            "claude": AgentSettings(env={"A": "1"}, login_files=[], model="sonnet"),
            "mine": AgentSettings(argv=["python3", "mine.py"], ask_mode="ask"),
        }
    )
    claude = entries["claude"]
    assert claude.env["A"] == "1"
    assert claude.env["DISABLE_TELEMETRY"] == "1"
    assert (claude.argv, claude.login_files, claude.default_model) == (("claude-agent-acp",), (), "sonnet")
    assert claude.new_meta == BUILT_IN["claude"].new_meta
    assert (entries["mine"].argv, entries["mine"].ask_mode) == (("python3", "mine.py"), "ask")
    with pytest.raises(ValueError, match=r"\[agents.empty\].*argv"):
        catalog({"empty": AgentSettings(env={"A": "1"})})


@pytest.mark.parametrize("name", ["claude", "codex", "gemini"])
def test_the_three_first_agents_are_pinned_and_ask(name: str) -> None:
    entry = BUILT_IN[name]
    assert entry.package is not None
    assert entry.package.rpartition("@")[2].replace(".", "").isdigit()
    assert entry.ask_mode is not None
    assert entry.system_replace is not None


def test_an_agent_that_is_installed_by_hand_says_by_which_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    reason = info(BUILT_IN["opencode"], tmp_path).reason
    assert reason is not None and reason.endswith("Install it as its makers say: npm install -g opencode-ai")


def test_every_package_of_the_catalog_is_pinned_to_one_release() -> None:
    packages = [entry.package for entry in BUILT_IN.values() if entry.package is not None]
    assert len(packages) >= 6
    for package in packages:
        assert re.fullmatch(r"(@[a-z0-9-]+/)?[a-z0-9-]+@\d+\.\d+\.\d+", package)
