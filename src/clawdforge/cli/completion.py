"""`clawdforge completion SHELL`: the script by which a shell completes these commands, and what it completes.

What is completed beside names of commands and options is asked of the gateway: sessions and agents. That must be
quick and silent: whoever presses Tab wants neither an error nor to wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click
from click.shell_completion import get_completion_class

from clawdforge.cli import terminal
from clawdforge.cli.options import Command

if TYPE_CHECKING:
    pass

PATIENCE_S: Final = 2
_SHELLS: Final = ("bash", "zsh", "fish")


@click.command(cls=Command)
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what makes a shell complete commands.

    Options, sessions and agents are completed, too.

    \b
    Examples:
      clawdforge completion bash >> ~/.bashrc
      clawdforge completion zsh > ~/.zfunc/_clawdforge
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
