"""Shell completion: a script for each shell, by the name that was typed, and silence where it fails."""

from __future__ import annotations

import re
import subprocess
from typing import Any

import click
import pytest
import responses
from click.testing import CliRunner

from clawdforge.cli import suggestions
from clawdforge.cli.caller import Caller
from clawdforge.cli.root import cli
from harness.examples import ROOTS

URL = "http://gateway.test:8800"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize("script", ["clawdforge", "cf"])
def test_the_script_completes_the_command_that_printed_it(script: str, shell: str) -> None:
    result = CliRunner().invoke(ROOTS[script], ["completion", shell], prog_name=script)

    assert (result.exit_code, result.stderr) == (0, "")
    assert f"_{script.upper()}_COMPLETE={shell}_complete" in result.stdout
    assert re.search(rf"\b{script}\b", result.stdout)
    if shell == "bash":
        assert subprocess.run(["bash", "-n"], input=result.stdout.encode(), check=False).returncode == 0


@pytest.mark.parametrize("shell", ["zsh", "fish"])
@pytest.mark.parametrize(
    ("word", "becomes"),
    [
        ("--permissions=wo", ["--permissions=workspace"]),
        ("--permis", ["--permissions"]),
        ("--effort=x", ["--effort=xhigh"]),
        ("--model=", []),
    ],
)
def test_a_value_behind_its_option_is_completed_with_it(shell: str, word: str, becomes: list[str]) -> None:
    words = {"COMP_WORDS": f"clawdforge run {word}", "COMP_CWORD": word if shell == "fish" else "2"}
    env = {"_CLAWDFORGE_COMPLETE": f"{shell}_complete", **words}
    result = CliRunner().invoke(cli, [], env=env, prog_name="clawdforge")

    assert (result.exit_code, result.stderr) == (0, "")
    told = result.stdout.splitlines()
    values = told[1::3] if shell == "zsh" else [re.split("[,\t]", line)[1] for line in filter(None, told)]
    assert values == becomes


def context() -> click.Context:
    return click.Context(cli, obj=Caller())


def test_sessions_that_are_open_are_completed_with_what_they_are(http: responses.RequestsMock) -> None:
    told = {"agent": "claude", "turn_count": 2, "last_turn_at": None, "created_at": 0}
    rows = [{"session_id": name, **told} for name in ("sess_a", "sess_b")]
    http.get(f"{URL}/sessions?include_closed=false", json={"ok": True, "sessions": rows, "count": 2})

    found = suggestions.sessions(context(), cli.params[0], "sess_b")

    assert [(each.value, each.help) for each in found] == [("sess_b", "claude; turns: 2; 1970-01-01 00:00:00Z")]


@pytest.mark.parametrize(
    "answer",
    [
        {"status": 401, "json": {"detail": "no", "code": "unauthorized"}},
        {"status": 500, "body": b"<html>"},
        {"json": {"ok": True}},
        {"json": {"ok": True, "sessions": [1], "agents": [{}]}},
        {"json": {"ok": True, "sessions": None, "agents": 3}},
    ],
)
def test_what_cannot_be_asked_is_no_error(http: responses.RequestsMock, answer: dict[str, object]) -> None:
    http.get(f"{URL}/sessions", **answer)
    http.get(f"{URL}/agents", **answer)

    assert suggestions.sessions(context(), cli.params[0], "") == []
    assert suggestions.agents(context(), cli.params[0], "") == []


def test_a_gateway_that_does_not_answer_keeps_nobody_waiting(
    live_gateway: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suggestions, "_PATIENCE_S", 0.1)
    live_gateway.may_answer.clear()

    assert suggestions.sessions(context(), cli.params[0], "") == []
    live_gateway.may_answer.set()
