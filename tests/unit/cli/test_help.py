"""`--help` teaches, and what it teaches is true."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable

import click
import pytest
from click.testing import CliRunner, Result

from harness import examples

ALL = [(root, path) for root in examples.ROOTS for path, _ in examples.commands(root)]


def test_the_commands_are_all_there() -> None:
    assert {" ".join(path) for path, _ in examples.commands("clawdforge")} == {
        "",
        "serve",
        "run",
        "session",
        "session new",
        "session turn",
        "session get",
        "session list",
        "session close",
        "session cancel",
        "session answer",
        "session fork",
        "session watch",
        "session diff",
        "session export",
        "chat",
        "logs",
        "usage",
        "upload",
        "file",
        "file get",
        "file delete",
        "token",
        "token mint",
        "token list",
        "token revoke",
        "agents",
        "agents install",
        "agents test",
        "doctor",
        "healthz",
        "completion",
    }


def test_cf_has_the_first_clawdforges_commands() -> None:
    found = {" ".join(path) for path, _ in examples.commands("cf")}

    assert {"healthz", "run", "upload", "admin token-mint", "admin token-list", "admin token-revoke"} <= found
    assert {f"session {name}" for name in ("new", "turn", "get", "list", "close")} <= found


def test_cf_makes_no_command_of_its_own() -> None:
    ours = {id(command) for _, command in examples.commands("clawdforge")}
    own = {path for path, command in examples.commands("cf") if id(command) not in ours}

    assert own == {(), ("admin",)}


@pytest.mark.parametrize(("root", "path"), ALL, ids=lambda each: each if isinstance(each, str) else " ".join(each))
def test_every_help_has_an_example_and_the_global_options(root: str, path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(examples.ROOTS[root], [*path, "--help"], prog_name=root)

    assert result.exit_code == 0
    assert re.search(rf"^  +.*\b{root} \w", result.stdout, re.MULTILINE)
    for option in ("--url", "--token", "--json"):
        assert option in result.stdout
    assert "visible to other" in " ".join(result.stdout.split())


@pytest.mark.parametrize(("root", "path"), ALL, ids=lambda each: each if isinstance(each, str) else " ".join(each))
def test_the_first_sentence_of_a_help_fits_where_commands_are_listed(root: str, path: tuple[str, ...]) -> None:
    command: click.Command = examples.ROOTS[root]
    for name in path:
        assert isinstance(command, click.Group)
        command = command.commands[name]

    assert path == () or not command.get_short_help_str().endswith("...")


def test_help_can_be_asked_for_in_short(invoke: Callable[..., Result]) -> None:
    for path in ((), ("session",), ("session", "turn")):
        assert invoke(*path, "-h").stdout == invoke(*path, "--help").stdout != ""


def calls() -> list[list[str]]:
    """The words behind the name of the script, of each call in an example."""
    found = re.findall(r"\b(cf|clawdforge) ((?:'[^']*'|\"[^\"]*\"|[^|<>()\n])+)", "\n".join(examples.all_blocks()))
    return [[root, *shlex.split(words)] for root, words in found]


def options_of(command: click.Command) -> set[str]:
    return {option for parameter in command.params for option in parameter.opts}


@pytest.mark.parametrize("words", calls(), ids=" ".join)
def test_every_example_is_a_command_that_exists_with_options_that_exist(words: list[str]) -> None:
    command: click.Command = examples.ROOTS[words.pop(0)]
    while isinstance(command, click.Group) and (names := [word for word in words if word in command.commands]):
        own, words = words[: words.index(names[0])], words[words.index(names[0]) + 1 :]
        assert {word for word in own if word.startswith("--")} <= options_of(command)
        command = command.commands[names[0]]

    assert command not in examples.ROOTS.values()
    assert {word for word in words if word.startswith("--")} <= options_of(command)


def test_there_are_examples_to_try() -> None:
    assert len(calls()) > 60


def test_the_exit_codes_are_documented(invoke: Callable[..., Result]) -> None:
    text = invoke("--help").stdout

    for code in ("0", "1", "2", "3", "4", "5", "6", "130"):
        assert re.search(rf"^ +{code}  +\w", text, re.MULTILINE)


def test_the_version_is_told(invoke: Callable[..., Result]) -> None:
    assert re.fullmatch(r"clawdforge \d+\.\d+\.\d+\n", invoke("--version").stdout)


@pytest.mark.parametrize(
    "words", [["nonsense"], ["run"], ["run", "--nonsense", "x"], ["session", "turn"]], ids=" ".join
)
def test_wrong_usage_exits_with_2_and_says_so_on_stderr(invoke: Callable[..., Result], words: list[str]) -> None:
    result = invoke(*words)

    assert (result.exit_code, result.stdout) == (2, "")
    assert "Usage: clawdforge" in result.stderr
