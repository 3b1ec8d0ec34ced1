"""What `--help` says, of every command."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import click

from clawdforge.cli.root import cli

WIDTH: Final = 100


def page() -> str:
    """A heading and the help of each command, those of a group below it."""
    return "\n" + "\n".join(_pages(cli, "clawdforge", None, level=2))


def _pages(command: click.Command, name: str, above: click.Context | None, level: int) -> Iterator[str]:
    context = click.Context(command, info_name=name, parent=above, max_content_width=WIDTH, terminal_width=WIDTH)
    yield f"{'#' * level} `{context.command_path}`\n\n```text\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for each in command.list_commands(context):
            child = command.get_command(context, each)
            if child is not None and not child.hidden:
                yield from _pages(child, each, context, min(level + 1, 4))
