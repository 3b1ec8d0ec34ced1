"""What the gateway is deployed with, image, composition and units, and the how-to: they hold what they promise.

They are read here, not built: that needs an engine, or systemd. What was tried with those is in docs/deploy.md.
"""

from __future__ import annotations

import json
import re
import shlex
import socket
import subprocess
import sys
import tomllib
from collections import defaultdict
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from clawdforge.cli.root import cli as command_line
from clawdforge.server.settings import Settings, load
from harness.gateway import Gateway

ROOT = Path(__file__).parents[2]
STATE = "/var/lib/clawdforge"
DEFAULTS = {name: field.default for name, field in Settings.model_fields.items()}
STOP_TAKES_S = DEFAULTS["drain_timeout_secs"] + 15
"""Turns end, last answers are given, agents are ended, the store is closed."""


def settings_of(env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Settings:
    """What a gateway makes of an environment; a variable that it would not read is a fault."""
    for name, value in env.items():
        if name.startswith("CLAWDFORGE_"):
            assert name.removeprefix("CLAWDFORGE_").lower() in Settings.model_fields, name
            monkeypatch.setenv(name, value)
    return load()


# --- the image ---


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]


def last_stage() -> list[tuple[str, str]]:
    stages = instructions()
    start = max(number for number, (word, _) in enumerate(stages) if word == "FROM")
    return stages[start:]


def only(word: str) -> str:
    [value] = [rest for each, rest in last_stage() if each == word]
    return value


def image_env() -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in shlex.split(only("ENV")))


def test_the_image_runs_as_a_user_without_rights() -> None:
    uid, _, gid = only("USER").partition(":")
    assert int(uid) >= 10_000
    assert uid == gid
    following = last_stage()[last_stage().index(("USER", only("USER"))) :]
    assert {word for word, _ in following} <= {
        *("USER", "WORKDIR", "VOLUME", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD"),
    }, "nothing is made in the image after it has become that user"
    assert any(word == "RUN" and f"--owner={uid}" in rest and STATE in rest for word, rest in last_stage())


def test_the_image_keeps_everything_in_its_volume(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(image_env(), monkeypatch)
    assert only("VOLUME") == only("WORKDIR") == image_env()["HOME"] == STATE
    assert settings.data_dir.is_relative_to(STATE)
    assert settings.data_dir != Path(STATE), "beside it lie the logins of the gateway's user"


def test_the_image_listens_to_the_outside_and_lets_nobody_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = settings_of(image_env(), monkeypatch)
    assert settings.host == "0.0.0.0"
    assert settings.allow_cidrs == []
    assert int(only("EXPOSE")) == settings.port


def test_the_image_ends_by_the_gateways_own_end() -> None:
    assert only("STOPSIGNAL") == "SIGTERM"
    init, dashes, program = json.loads(only("ENTRYPOINT"))
    assert (init, dashes) == ("tini", "--")
    assert program in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert isinstance(command_line.commands[json.loads(only("CMD"))[0]], click.Command)


def test_the_images_own_health_check_tells_a_gateway_from_none(tmp_path: Path) -> None:
    _, _, command = only("HEALTHCHECK").partition(" CMD ")
    python, dash, code = json.loads(command)
    assert (python, dash) == ("python", "-c")
    assert code.count(str(DEFAULTS["port"])) == 1

    def check(port: int) -> int:
        asked = code.replace(str(DEFAULTS["port"]), str(port))
        done = subprocess.run([sys.executable, "-c", asked], capture_output=True, timeout=60, check=False)
        return done.returncode

    gateway = Gateway(tmp_path, settings={"sandbox": "bwrap"}).start()
    try:
        assert check(int(gateway.url.rpartition(":")[2])) == 0
    finally:
        gateway.close()
    with socket.create_server(("127.0.0.1", 0)) as unheard:
        port = unheard.getsockname()[1]
    assert check(port) != 0


def test_no_secret_can_get_into_a_layer() -> None:
    named = [rest for word, rest in instructions() if word in {"ARG", "ENV"}]
    assert not [each for each in named if re.search(r"KEY|TOKEN|SECRET|PASS", each, re.IGNORECASE)]
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    patterns = [line for line in ignored if line and not line.startswith("#")]
    assert patterns[0] == "*"
    shown = {line.removeprefix("!") for line in patterns if line.startswith("!")}
    copied = {
        source
        for word, rest in instructions()
        if word == "COPY" and not rest.startswith("--from=")
        for source in rest.split()[:-1]
    }
    assert shown == copied, "what is sent to the build is what it takes"
    assert all((ROOT / name).exists() for name in copied)


def test_the_images_that_it_stands_on_have_a_version() -> None:
    defaults = dict(rest.split("=", 1) for word, rest in instructions()[:2] if word == "ARG")
    assert set(defaults) == {"PYTHON", "NODE"}
    assert all(re.fullmatch(r"[a-z]+:\d[\w.]*-[\w-]+", image) for image in defaults.values())
    stands_on = [rest.split()[0] for word, rest in instructions() if word == "FROM"]
    assert set(stands_on) == {"${PYTHON}", "${NODE}"}


# --- what the image installs ---


def pins(name: str) -> dict[str, str]:
    text = (ROOT / "requirements" / name).read_text()
    found = dict(re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE))
    assert text.count("\n    --hash=sha256:") >= len(found) > 0
    assert "//" not in text, "a lock names no place to fetch from"
    return found


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^\w.-]", each)[0] for each in requirements}


def wanted(*extras: str) -> set[str]:
    """All that an install with these extras names, by itself or by extras of its own."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked, seen, found = list(extras), set(), list(project["dependencies"])
    while asked:
        seen.add(extra := asked.pop())
        for each in project["optional-dependencies"][extra]:
            if own := re.fullmatch(r"clawdforge\[(.*)\]", each):
                asked += set(own[1].split(",")) - seen
            else:
                found.append(each)
    return names(found)


@pytest.mark.parametrize("extra", ["server", "local"])
def test_the_image_runs_on_what_the_tests_run_on(extra: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    built_with = names(project["build-system"]["requires"]) if extra == "server" else set()
    locked = pins(f"{extra}.txt")
    assert wanted(extra) | built_with <= set(locked)
    assert locked.items() <= pins("dev.txt").items()


def test_the_lock_holds_all_that_any_extra_needs() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert wanted(*extras) <= set(pins("dev.txt"))
    assert wanted("dev") == wanted(*extras), "who develops has all of it"


def test_what_is_locked_runs_on_the_first_release_of_python_that_is_promised() -> None:
    """A lock is made with a later one, and then takes releases that an older Python's pip does not even see."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    oldest = project["requires-python"].removeprefix(">=") + ".0"
    locked = pins("dev.txt")
    here = {canonicalize_name(each.name): each.metadata.get("Requires-Python", "") for each in distributions()}
    asked = {name: wants for name, wants in here.items() if name in locked}
    assert len(asked) > len(locked) / 2
    assert not {name: wants for name, wants in asked.items() if not SpecifierSet(wants).contains(oldest)}


# --- the composition ---


def composition(name: str = "compose.yml") -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / name).read_text())
    return loaded


def service() -> dict[str, Any]:
    [only_one] = composition()["services"].values()
    return dict(only_one)


def test_the_port_is_open_to_this_machine_alone() -> None:
    assert service()["ports"] == [f"127.0.0.1:{DEFAULTS['port']}:{only('EXPOSE')}"]
    assert "network_mode" not in service()


def test_callers_come_from_the_compositions_own_network(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(service()["environment"], monkeypatch)
    [network] = composition()["networks"]["default"]["ipam"]["config"]
    assert settings.allow_cidrs == [network["subnet"]]
    assert settings.allowed_networks[-1].is_private
    assert not settings.allowed_networks[-1].is_loopback


def test_the_container_can_do_little() -> None:
    one = service()
    assert one["read_only"] is True
    assert one["cap_drop"] == ["ALL"]
    assert one["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "devices", "pid", "ipc", "user"} & set(one)
    assert one["volumes"] == [f"state:{STATE}"]
    assert [each.partition(":")[0] for each in one["tmpfs"]] == ["/tmp"]
    assert {"mem_limit", "pids_limit"} <= set(one)


def test_no_other_image_is_taken_for_ours() -> None:
    assert service()["build"] == "."
    assert "image" not in service(), "one that is not there would be looked for where anybody may publish it"


def test_keys_stay_out_of_the_repository() -> None:
    [keys] = service()["env_file"]
    assert keys["required"] is False
    assert f"/{keys['path']}" in (ROOT / ".gitignore").read_text().splitlines()


def seconds(text: str) -> int:
    assert text.removesuffix("s").isdigit(), text
    return int(text.removesuffix("s"))


def test_the_container_is_given_the_time_to_stop() -> None:
    assert seconds(service()["stop_grace_period"]) >= STOP_TAKES_S


def test_namespaces_inside_are_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    [added] = composition("deploy/compose.bwrap.yml")["services"].values()
    assert set(composition("deploy/compose.bwrap.yml")["services"]) == set(composition()["services"])
    assert settings_of(added["environment"], monkeypatch).sandbox == "bwrap"
    assert all(each.endswith("=unconfined") for each in added["security_opt"])
    assert set(added) == {"environment", "security_opt"}


# --- the units ---

UNITS = ("clawdforge.service", "clawdforge-user.service")
BREAKS_WALLS = {
    *("RestrictNamespaces", "ProtectHostname", "ProtectKernelTunables", "ProcSubset"),
    *("ProtectProc", "ProtectControlGroups", "MemoryDenyWriteExecute"),
}
WALLS_NEED = {"@mount", "seccomp", "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"}


def unit(name: str) -> dict[str, list[str]]:
    """The service's settings, each with all of its values."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    section = ""
    for line in (ROOT / "deploy" / name).read_text().splitlines():
        if line.startswith("["):
            section = line
        elif line and not line.startswith("#") and section == "[Service]":
            key, equals, value = line.partition("=")
            assert equals, line
            found[key].append(value)
    return dict(found)


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_lets_the_gateway_end_its_agents(name: str) -> None:
    service = unit(name)
    assert service["KillMode"] == ["mixed"]
    assert int(service["TimeoutStopSec"][0]) >= STOP_TAKES_S
    assert service["Type"] == ["exec"], "the gateway does not notify"


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_hands_control_groups_over(name: str) -> None:
    service = unit(name)
    assert service["Delegate"] == ["yes"]
    assert service["OOMPolicy"] == ["continue"], "an agent that took too much must not end the gateway"


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_keeps_nothing_from_the_walls(name: str) -> None:
    service = unit(name)
    assert not BREAKS_WALLS & set(service)
    assert service["NoNewPrivileges"] == ["yes"]
    if allowed := service.get("SystemCallFilter"):
        assert set(" ".join(allowed).split()) >= WALLS_NEED
        assert not [each for each in allowed if each.startswith("~")]


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_starts_the_gateway_with_known_settings(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    [program, *arguments] = shlex.split(unit(name)["ExecStart"][0])
    assert (Path(program).name, arguments) == ("clawdforge", ["serve"])
    env = dict(pair.split("=", 1) for pair in unit(name).get("Environment", []))
    assert settings_of(env, monkeypatch).allow_cidrs == []


def test_the_machines_unit_runs_as_a_user_of_its_own() -> None:
    service = unit("clawdforge.service")
    assert service["User"] == service["Group"] == service["StateDirectory"] == ["clawdforge"]
    assert service["CapabilityBoundingSet"] == [""]
    assert service["Environment"] == [f"CLAWDFORGE_DATA_DIR={STATE}/data"]
    assert service["ProtectSystem"] == ["strict"]
    assert service["ProtectHome"] == ["yes"]


# --- the how-to ---

HOW_TO = ROOT / "docs" / "deploy.md"


def commands() -> list[list[str]]:
    """What follows the word `clawdforge` in the lines that a reader pastes."""
    blocks = re.findall(r"^```sh\n(.*?)^```", HOW_TO.read_text(), re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in re.sub(r"\\\n", " ", block).splitlines()]
    called = [re.split(r"(?:^|[\s(/])clawdforge (?=[a-z])", line) for line in lines]
    return [shlex.split(re.sub(r"[)<|].*", "", part), comments=True) for _, *parts in called for part in parts]


def test_the_how_to_names_commands_that_there_are() -> None:
    assert len(commands()) > 5
    for words in commands():
        found: click.Command = command_line
        while isinstance(found, click.Group) and words and not words[0].startswith("-"):
            found = found.commands[words.pop(0)]
        assert not isinstance(found, click.Group) or found.invoke_without_command, words


def test_the_how_to_names_files_and_settings_that_there_are() -> None:
    text = HOW_TO.read_text()
    for name in re.findall(r"(?<![\w./])(?:deploy/[\w.-]+\w|compose\.yml|Dockerfile|docs/[\w.-]+\.md)", text):
        assert (ROOT / name).is_file(), name
    others = {"CLAWDFORGE_TOKEN", "CLAWDFORGE_URL"}
    for name in set(re.findall(r"CLAWDFORGE_[A-Z_]+", text)) - others:
        assert name.removeprefix("CLAWDFORGE_").lower() in Settings.model_fields, name
