"""Where the gateway is and who asks: options, the environment, then `cf.env`, which is private."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import responses
from click.testing import Result

from clawdforge.cli import identity
from clawdforge.cli.failures import Failure

Invoke = Callable[..., Result]


@pytest.fixture
def env_file(tmp_path: Path) -> Callable[[str], Path]:
    """Writes the file where the command looks for it, for its owner alone."""

    def write(text: str) -> Path:
        path = tmp_path / ".config" / "clawdforge" / "cf.env"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o600)
        return path

    return write


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("CLAWDFORGE_TOKEN=cf_1", "cf_1"),
        ("  export  CLAWDFORGE_TOKEN = cf_1  ", "cf_1"),
        ("CLAWDFORGE_TOKEN='cf_1 #2'", "cf_1 #2"),
        ('CLAWDFORGE_TOKEN="cf_1"', "cf_1"),
        ("CLAWDFORGE_TOKEN=cf_1 # mine", "cf_1"),
        ("CLAWDFORGE_TOKEN=a\nCLAWDFORGE_TOKEN=b", "b"),
        ("CLAWDFORGE_TOKEN=a=b", "a=b"),
        ("CLAWDFORGE_TOKEN=", ""),
        ("CLAWDFORGE_TOKEN='", "'"),
    ],
)
def test_a_line_is_read_as_a_shell_would(line: str, value: str) -> None:
    assert identity.parsed(f"# a remark\n\n{line}\nOTHER_KEY=x\n", Path("f"))["CLAWDFORGE_TOKEN"] == value


@pytest.mark.parametrize("line", ["cf_secret", "=cf_secret", "KEY cf_secret", "2KEY=cf_secret"])
def test_a_line_that_is_none_is_named_by_its_number_and_not_quoted(line: str) -> None:
    with pytest.raises(Failure) as caught:
        identity.parsed(f"A=1\n{line}\n", Path("f"))

    assert "line 2" in caught.value.message
    assert "cf_secret" not in caught.value.message


def test_the_file_says_where_the_gateway_is_and_who_asks(
    invoke: Invoke, http: responses.RequestsMock, env_file: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CLAWDFORGE_URL")
    monkeypatch.setenv("CLAWDFORGE_TOKEN", "")  # empty: unset
    env_file("CLAWDFORGE_URL=http://elsewhere.test:1\nCLAWDFORGE_TOKEN=cf_file\n")
    http.get("http://elsewhere.test:1/sessions", json={"ok": True, "sessions": [], "count": 0})

    result = invoke("session", "list")

    assert (result.exit_code, result.stderr) == (0, "")
    assert http.calls[0].request.headers["Authorization"] == "Bearer cf_file"
    assert "cf_file" not in os.environ.values()


@pytest.mark.parametrize(
    ("arguments", "variable", "token"),
    [
        ([], None, "cf_file"),
        ([], "cf_env", "cf_env"),
        (["--token", "cf_arg"], "cf_env", "cf_arg"),
    ],
)
def test_options_beat_the_environment_and_that_beats_the_file(
    invoke: Invoke,
    http: responses.RequestsMock,
    env_file: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    variable: str | None,
    token: str,
) -> None:
    monkeypatch.delenv("CLAWDFORGE_TOKEN")
    if variable is not None:
        monkeypatch.setenv("CLAWDFORGE_TOKEN", variable)
    env_file("CLAWDFORGE_TOKEN=cf_file\n")
    http.get("http://gateway.test:8800/sessions", json={"ok": True, "sessions": [], "count": 0})

    assert invoke("session", "list", *arguments).exit_code == 0
    assert http.calls[0].request.headers["Authorization"] == f"Bearer {token}"


def test_the_admin_token_may_stand_there_too(
    invoke: Invoke, http: responses.RequestsMock, env_file: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    env_file("CLAWDFORGE_ADMIN_TOKEN=cf_boss\n")
    monkeypatch.delenv("CLAWDFORGE_TOKEN")
    http.get("http://gateway.test:8800/admin/tokens", json={"ok": True, "tokens": [], "count": 0})

    assert invoke("token", "list").exit_code == 0
    assert http.calls[0].request.headers["Authorization"] == "Bearer cf_boss"


def test_xdg_config_home_is_honoured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "elsewhere"))

    assert identity.env_file() == tmp_path / "elsewhere" / "clawdforge" / "cf.env"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_token_that_others_can_read_is_warned_of_once(
    env_file: Callable[[str], Path], capsys: pytest.CaptureFixture[str], mode: int
) -> None:
    path = env_file("CLAWDFORGE_TOKEN=cf_1\n")
    path.chmod(mode)

    assert [identity.from_file(path)["CLAWDFORGE_TOKEN"] for _ in range(3)] == ["cf_1"] * 3
    warned = capsys.readouterr().err
    assert warned.count("chmod 600") == 1
    assert "cf_1" not in warned


def test_an_address_that_others_can_read_is_no_secret(
    env_file: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = env_file("CLAWDFORGE_URL=http://127.0.0.1:1\n")
    path.chmod(0o644)

    assert identity.from_file(path)
    assert capsys.readouterr() == ("", "")


def test_a_file_that_cannot_be_read_is_wrong_usage(
    invoke: Invoke, env_file: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CLAWDFORGE_TOKEN")
    path = env_file("")
    path.write_bytes(b"CLAWDFORGE_TOKEN=\xff\n")

    result = invoke("session", "list")

    assert (result.exit_code, result.stdout) == (2, "")
    assert "not UTF-8" in result.stderr


def test_a_directory_in_its_place_is_told(invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLAWDFORGE_TOKEN")
    (tmp_path / ".config" / "clawdforge" / "cf.env").mkdir(parents=True)

    result = invoke("session", "list")

    assert (result.exit_code, result.stdout) == (2, "")
    assert "cannot be read" in result.stderr
