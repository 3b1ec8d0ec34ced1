"""The examples of the command line's help texts, as somebody would copy them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import click

from clawdforge.cli.options import Group
from clawdforge.cli.root import cli
from clawdforge.cli.short import cf

ROOTS: dict[str, Group] = {"clawdforge": cli, "cf": cf}  # type: ignore[dict-item]  # click says less of them

Path = tuple[str, ...]


def commands(root: str) -> Iterator[tuple[Path, click.Command]]:
    """All commands of a console script, by the words that name them; the script itself by none."""
    yield from _below(ROOTS[root], ())


def _below(command: click.Command, path: Path) -> Iterator[tuple[Path, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            yield from _below(child, (*path, name))


def blocks(root: str, command: click.Command) -> Iterator[str]:
    """The examples of a command's help. Lines that belong together, for one sets what another uses, are one."""
    text = ROOTS[root].reworded(inspect.cleandoc(command.help or ""))
    lines = re.findall(r"^  (\S.*)$", text, re.MULTILINE)
    if any(line.startswith("ID=") for line in lines):
        yield "\n".join(lines)
    else:
        yield from lines


def all_blocks() -> list[str]:
    """Each example once."""
    found = {each: None for root in ROOTS for _, command in commands(root) for each in blocks(root, command)}
    return list(found)
