"""`--help` teaches, and what it teaches is true."""

from __future__ import annotations

import inspect
import re
import shlex
from collections.abc import Callable, Iterator

import click
import pytest
from click.testing import Result

from clawdforge.cli.root import cli


def every_command(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            yield from every_command(child, (*path, name))


ALL = list(every_command(cli))


def test_the_commands_are_all_there() -> None:
    assert {" ".join(path) for path in ALL} == {
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


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_help_has_an_example_and_the_global_options(
    invoke: Callable[..., Result], path: tuple[str, ...]
) -> None:
    result = invoke(*path, "--help")

    assert result.exit_code == 0
    assert re.search(r"^  +.*\bclawdforge \w", result.stdout, re.MULTILINE)
    for option in ("--url", "--token", "--json"):
        assert option in result.stdout
    assert "visible to other" in " ".join(result.stdout.split())


def examples() -> Iterator[list[str]]:
    for path in ALL:
        command: click.Command = cli
        for name in path:
            assert isinstance(command, click.Group)
            command = command.commands[name]
        for line in inspect.cleandoc(command.help or "").splitlines():
            for words in re.findall(r"^  (?:.*[|(] ?)?clawdforge (.+?)\)?$", line):
                yield shlex.split(words.split(" < ")[0].replace("$ID", "sess_1"))


def options_of(command: click.Command) -> set[str]:
    return {option for parameter in command.params for option in parameter.opts}


@pytest.mark.parametrize("words", list(examples()), ids=" ".join)
def test_every_example_is_a_command_that_exists_with_options_that_exist(words: list[str]) -> None:
    command: click.Command = cli
    while isinstance(command, click.Group) and (names := [word for word in words if word in command.commands]):
        own, words = words[: words.index(names[0])], words[words.index(names[0]) + 1 :]
        assert {word for word in own if word.startswith("--")} <= options_of(command)
        command = command.commands[names[0]]

    assert command is not cli
    assert {word for word in words if word.startswith("--")} <= options_of(command)


def test_there_are_examples_to_try() -> None:
    assert len(list(examples())) > 20


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
