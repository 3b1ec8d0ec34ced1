"""`clawdforge completion SHELL`: the script by which a shell completes these commands.

What is completed beside names of commands and options is the business of `suggestions`.
"""

from __future__ import annotations

from typing import Final

import click
from click.shell_completion import (
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
    get_completion_class,
)

from clawdforge.cli import terminal
from clawdforge.cli.options import Command

_SHELLS: Final = ("bash", "zsh", "fish")


class _WholeWords(ShellComplete):
    """For shells that replace a whole word: what completes the value of `--agent=c` begins with `--agent=`."""

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem]:
        found = super().get_completions(args, incomplete)
        option, equals, _ = incomplete.partition("=")
        if not (equals and option.startswith("-")):
            return found
        return [CompletionItem(f"{option}={each.value}", each.type, each.help) for each in found]


class _Zsh(_WholeWords, ZshComplete):
    """See the bases."""


class _Fish(_WholeWords, FishComplete):
    """See the bases."""


add_completion_class(_Zsh)
add_completion_class(_Fish)


@click.command(cls=Command)
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what makes a shell complete commands.

    Options, sessions and agents are completed, too. New shells have it; zsh needs it behind its compinit.

    \b
    Examples:
      clawdforge completion bash >> ~/.bashrc
      clawdforge completion zsh >> ~/.zshrc
      clawdforge completion fish > ~/.config/fish/completions/clawdforge.fish
    """
    root = context.find_root()
    name = root.info_name or "clawdforge"
    variable = f"_{name.upper()}_COMPLETE"
    made = get_completion_class(shell)
    assert made is not None  # of those that can be chosen
    script = made(root.command, {}, name, variable)
    # Not `source()`: for bash it runs the bash that it finds, and complains of it.
    terminal.say(script.source_template % script.source_vars())
