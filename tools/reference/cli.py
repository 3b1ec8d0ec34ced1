"""What `--help` says, of every command."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import click

from clawdforge.cli.root import cli
from clawdforge.cli.short import cf

WIDTH: Final = 100


def page() -> str:
    """A heading and the help of each command, those of a group below it; `cf`, which has the same, alone."""
    short = click.Context(cf, info_name="cf", max_content_width=WIDTH, terminal_width=WIDTH)
    return "\n" + "\n".join([*_pages(cli, "clawdforge", None, level=2), _told("##", short)])


def _pages(command: click.Command, name: str, above: click.Context | None, level: int) -> Iterator[str]:
    context = click.Context(command, info_name=name, parent=above, max_content_width=WIDTH, terminal_width=WIDTH)
    yield _told("#" * level, context)
    if isinstance(command, click.Group):
        for each in command.list_commands(context):
            child = command.get_command(context, each)
            if child is not None and not child.hidden:
                yield from _pages(child, each, context, min(level + 1, 4))


def _told(heading: str, context: click.Context) -> str:
    return f"{heading} `{context.command_path}`\n\n```text\n{context.get_help()}\n```\n"
