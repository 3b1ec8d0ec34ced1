"""From an entry of the catalog and a caller's choices to a command line, an environment and files."""

from __future__ import annotations

import dataclasses
import json
import stat
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clawdforge.server.agents import endpoints, launch, ways
from clawdforge.server.agents.catalog import catalog
from clawdforge.server.agents.entry import AgentEntry, LoginChoice
from clawdforge.server.agents.homes import AgentHome
from clawdforge.server.agents.known import BUILT_IN
from clawdforge.server.sandbox.base import Network, Wall
from clawdforge.server.sandbox.none import NoWall
from clawdforge.server.settings import AgentSettings
from clawdforge.wire.agents import AgentOptions
from clawdforge.wire.problems import Problem

ENVIRON = {
    "PATH": "/bin",
    "LANG": "C",
    "HOME": "/home/somebody",
    "SECRET": "stays here",
    "ANTHROPIC_API_KEY": "sk-1234567",
}
SYSTEM = 'Say "yes"\n\\and größe'

Prepare = Callable[..., launch.Launch]


@pytest.fixture
def home(tmp_path: Path) -> AgentHome:
    return AgentHome(tmp_path, "sess_1")


@pytest.fixture
def wall() -> Wall:
    return NoWall()


@pytest.fixture
def prepare(home: AgentHome, tmp_path: Path, wall: Wall) -> Prepare:
    def prepared(entry: AgentEntry, network: Network = "open", **options: Any) -> launch.Launch:
        chosen = AgentOptions(agent=entry.name, **options)
        return launch.prepare(entry, entry.argv, chosen, home, tmp_path, wall, network, ENVIRON)

    return prepared


def entry_of(name: str = "mine", **fields: Any) -> AgentEntry:
    return AgentEntry(name=name, title=name, argv=("agent",), **fields)


def test_the_environment_is_made_from_nothing(prepare: Prepare, home: AgentHome) -> None:
    made = prepare(entry_of(env={"ADDED": "1"}, inherit_env=("ANTHROPIC_API_KEY", "NOT_THERE")))
    assert made.env == {
        "PATH": "/bin",
        "LANG": "C",
        "ADDED": "1",
        "ANTHROPIC_API_KEY": "sk-1234567",
    }


def test_what_the_settings_give_beats_what_is_inherited(prepare: Prepare) -> None:
    made = prepare(entry_of(env={"ANTHROPIC_API_KEY": "sk-other-one"}, inherit_env=("ANTHROPIC_API_KEY",)))
    assert made.env["ANTHROPIC_API_KEY"] == "sk-other-one"


def test_nothing_moves_an_agent_s_home(prepare: Prepare, home: AgentHome, wall: Wall) -> None:
    made = prepare(entry_of(env={"HOME": "/root", "TMPDIR": "/tmp"}, inherit_env=("HOME",)))
    enclosed = wall.enclose(made.argv, made.env, made.space)
    assert (enclosed.env["HOME"], enclosed.env["TMPDIR"]) == (str(home.path), str(home.tmp))


def test_home_and_temporary_directory_are_private_and_apart(prepare: Prepare, home: AgentHome) -> None:
    prepare(entry_of())
    assert {stat.S_IMODE(each.stat().st_mode) for each in (home.path, home.tmp)} == {0o700}
    assert not home.path.is_relative_to(home.tmp)
    assert not home.tmp.is_relative_to(home.path)


def test_values_of_variables_that_are_named_like_secrets_are_hidden(prepare: Prepare) -> None:
    env = {"MY_KEY": "k" * 8, "db_password": "p" * 8, "SHORT_TOKEN": "t", "NAME": "n" * 20}
    made = prepare(entry_of(env=env, inherit_env=("ANTHROPIC_API_KEY",)))
    assert made.secrets == {"k" * 8, "p" * 8, "sk-1234567"}
    assert "k" * 8 not in repr(dataclasses.replace(made, env={}))


def test_nothing_is_added_for_an_agent_that_is_told_over_acp(prepare: Prepare) -> None:
    for name in ("claude", "opencode"):
        entry = BUILT_IN[name]
        effort = {"effort": "max"} if name == "claude" else {}
        made = prepare(entry, model="some-model", system=SYSTEM, **effort)
        assert made.argv == entry.argv
        assert SYSTEM not in made.env.values()


def test_codex_gets_a_system_prompt_as_toml_on_its_command_line(prepare: Prepare) -> None:
    made = prepare(BUILT_IN["codex"], system=SYSTEM)
    assert made.argv[:2] == ("codex-acp", "-c")
    assert tomllib.loads(made.argv[2]) == {"developer_instructions": SYSTEM}


def test_codex_gets_another_system_prompt_as_a_file(prepare: Prepare, home: AgentHome) -> None:
    made = prepare(BUILT_IN["codex"], system=SYSTEM, system_mode="replace")
    assert made.argv == ("codex-acp", "-c", f"model_instructions_file={home.tmp / 'system.md'}")
    assert (home.tmp / "system.md").read_text() == SYSTEM
    assert stat.S_IMODE((home.tmp / "system.md").stat().st_mode) == 0o600


def test_gemini_gets_another_system_prompt_as_a_file_that_a_variable_names(
    prepare: Prepare, home: AgentHome
) -> None:
    made = prepare(BUILT_IN["gemini"], system=SYSTEM, system_mode="replace")
    assert made.env["GEMINI_SYSTEM_MD"] == str(home.tmp / "system.md")
    assert (home.tmp / "system.md").read_text() == SYSTEM


def test_a_model_can_go_by_argument_file_or_variable_too(prepare: Prepare, home: AgentHome) -> None:
    by_argument = prepare(entry_of(model=ways.Arguments(("--model", "{value}"))), model="m")
    assert by_argument.argv == ("agent", "--model", '"m"')
    by_file = prepare(entry_of(model=ways.FileArguments(("--model-file={path}",))), model="m")
    assert by_file.argv == ("agent", f"--model-file={home.tmp / 'model.md'}")
    by_variable = prepare(entry_of(model=ways.FileVariable("MODEL_FILE")), model="m")
    assert Path(by_variable.env["MODEL_FILE"]).read_text() == "m"


def test_the_entry_s_own_model_is_used_where_the_caller_names_none(prepare: Prepare) -> None:
    entry = entry_of(model=ways.Arguments(("{value}",)), default_model="of the settings")
    assert prepare(entry).argv[1:] == ('"of the settings"',)
    assert prepare(entry, model="of the caller").argv[1:] == ('"of the caller"',)


@pytest.mark.parametrize(
    ("name", "options", "field"),
    [
        ("local", {"model": "other"}, "model"),
        ("opencode", {"effort": "low"}, "effort"),
        ("codex", {"effort": "max"}, "effort"),
        ("gemini", {"effort": "low"}, "effort"),
        ("opencode", {"system": "x", "system_mode": "replace"}, "system_mode"),
        ("claude", {"system_mode": "replace"}, "system_mode"),
        ("codex", {"system": "x" * 130_000}, "system"),
        ("codex", {"system": '"' * 65_000}, "system"),
    ],
)
def test_what_an_agent_has_no_way_to_take_is_refused(name: str, options: dict[str, Any], field: str) -> None:
    with pytest.raises(Problem) as raised:
        launch.check_options(BUILT_IN[name], AgentOptions(agent=name, **options))
    assert raised.value.code == "invalid"
    assert raised.value.extra["errors"][0]["loc"] == [field]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("claude", {"model": "opus", "effort": "max", "system": "x" * 1_000_000, "system_mode": "replace"}),
        ("codex", {"effort": "xhigh", "system": "x" * 1_000_000, "system_mode": "replace"}),
        ("codex", {"system": "x" * 100_000}),
        ("gemini", {"model": "m", "system": "x"}),
        ("local", {"system": "x", "system_mode": "replace"}),
        ("opencode", {"model": "m", "system": "x"}),
    ],
)
def test_what_an_agent_can_take_is_let_through(name: str, options: dict[str, Any]) -> None:
    launch.check_options(BUILT_IN[name], AgentOptions(agent=name, **options))


def test_the_agents_that_were_seen_to_act_unasked_are_made_to_ask() -> None:
    assert {name for name, entry in BUILT_IN.items() if entry.ask_mode} >= {"claude", "codex", "gemini"}


def test_settings_change_an_entry_and_add_one() -> None:
    changes = {
        "claude": AgentSettings(env={"MORE": "1"}, model="opus"),
        "mine": AgentSettings(argv=["my-agent"], ask_mode="careful", title="My own"),
    }
    entries = catalog(changes)
    assert entries["claude"].argv == BUILT_IN["claude"].argv
    assert entries["claude"].env == {**BUILT_IN["claude"].env, "MORE": "1"}
    assert (entries["claude"].default_model, entries["claude"].ask_mode) == ("opus", "default")
    assert (entries["mine"].argv, entries["mine"].ask_mode, entries["mine"].title) == (
        ("my-agent",),
        "careful",
        "My own",
    )
    assert "MORE" not in BUILT_IN["claude"].env
    with pytest.raises(ValueError, match="needs an argv"):
        catalog({"other": AgentSettings(title="without a command")})


def test_settings_can_take_away_what_is_inherited() -> None:
    entries = catalog({"claude": AgentSettings(inherit_env=[], login_files=[])})
    assert (entries["claude"].inherit_env, entries["claude"].login_files) == ((), ())


def test_whatever_the_system_prompt_holds_it_comes_through_the_quotes(prepare: Prepare) -> None:
    for text in ("'", "$(x)", "{path} {value}", "\t\r\n", "\u2028 \x7f", "a\\", "😀"):
        argument = prepare(BUILT_IN["codex"], system=text).argv[2]
        assert json.loads(argument.partition("=")[2]) == text


@pytest.mark.parametrize(
    ("environ", "files", "told"),
    [
        ({}, [], {}),
        ({"CLOUD": "yes"}, [], {"BY": "cloud"}),
        ({"MINE_KEY": "12345678"}, [".mine/token"], {"BY": "key"}),
        ({"MINE_KEY": ""}, [".mine/token"], {"BY": "token"}),
        ({}, [".mine/token"], {"BY": "token"}),
        ({}, [".mine/other"], {}),
    ],
)
def test_an_agent_is_told_by_which_of_its_logins_to_work(
    home: AgentHome,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    environ: dict[str, str],
    files: list[str],
    told: dict[str, str],
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    for name in files:
        (tmp_path / "user" / name).parent.mkdir(parents=True)
        (tmp_path / "user" / name).write_text("a token")
    choice = LoginChoice("BY", (("CLOUD", "cloud"), ("MINE_KEY", "key"), ("~/.mine/token", "token")))
    entry = entry_of(
        inherit_env=("CLOUD", "MINE_KEY"), login_files=("~/.mine/token", "~/.mine/other"), login_choice=choice
    )
    made = launch.prepare(entry, entry.argv, AgentOptions(agent="mine"), home, tmp_path, NoWall(), "open", environ)
    assert {name: value for name, value in made.env.items() if name == "BY"} == told
    chosen = dataclasses.replace(entry, env={"BY": "what the settings say"})
    made = launch.prepare(
        chosen, entry.argv, AgentOptions(agent="mine"), home, tmp_path, NoWall(), "open", environ
    )
    assert made.env["BY"] == "what the settings say"


def test_without_a_network_it_is_told_the_door_and_led_to_its_model(prepare: Prepare) -> None:
    made = prepare(BUILT_IN["claude"], network="none")
    assert made.env["ANTHROPIC_BASE_URL"] == "http://127.0.0.1:4180"
    assert made.endpoint is not None
    assert (made.endpoint.host, made.endpoint.tls) == ("api.anthropic.com", True)
    assert made.space.network == "none"
    codex = prepare(BUILT_IN["codex"], network="none")
    assert codex.argv[-2:] == ("-c", 'openai_base_url="http://127.0.0.1:4180/v1"')


def test_with_a_network_it_is_told_nothing_of_its_model(prepare: Prepare) -> None:
    made = prepare(BUILT_IN["claude"])
    assert "ANTHROPIC_BASE_URL" not in made.env
    assert (made.endpoint, made.space.network) == (None, "open")


def test_a_base_url_that_is_none_is_told_and_not_repeated(prepare: Prepare) -> None:
    with pytest.raises(Problem) as caught:
        prepare(
            entry_of(env={"URL": "x"}, endpoints=(endpoints.ModelEndpoint("sk-1", ways.Variable("URL")),)), "none"
        )
    assert caught.value.code == "agent_unavailable"
    assert "base URL" in caught.value.detail
    assert "sk-1" not in caught.value.detail


def test_a_secret_file_that_a_variable_names_is_handed_over_as_a_copy(
    prepare: Prepare, home: AgentHome, tmp_path: Path
) -> None:
    key = tmp_path / "key.json"
    key.write_text('{"private_key": "a-long-secret-of-many-letters-0123456789"}')
    made = prepare(
        entry_of(env={"KEY_FILE": str(key), "OTHER": str(tmp_path / "gone")}, file_env=("KEY_FILE", "OTHER"))
    )
    assert Path(made.env["KEY_FILE"]).read_bytes() == key.read_bytes()
    assert Path(made.env["KEY_FILE"]).is_relative_to(home.tmp)
    assert made.env["OTHER"] == str(tmp_path / "gone")
    assert "a-long-secret-of-many-letters-0123456789" in made.secrets


def test_what_the_catalog_resets_is_gone_at_the_next_start(prepare: Prepare, home: AgentHome) -> None:
    for name in ("claude", "codex", "gemini"):
        entry = BUILT_IN[name]
        prepare(entry)
        own = home.path / f".{name}"
        planted = [own / "settings.json", own / "rules" / "mine.rules", own / "policies" / "mine.toml"]
        talks = [home.path / each.replace("*", "x") for each in entry.keeps]
        for path in (*planted, *talks):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("planted")
        prepare(entry)
        assert not [path for path in planted if path.exists() and path.read_text() == "planted"]
        assert all(path.exists() for path in talks)
