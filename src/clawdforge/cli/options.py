"""What commands have in common: the options known everywhere, and those of asking an agent."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeAlias, TypeVar

import click

from clawdforge.cli import suggestions, terminal
from clawdforge.cli.caller import Caller

F = TypeVar("F", bound=Callable[..., Any])
Attached: TypeAlias = Path | BinaryIO
EXISTING_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
EFFORTS: Final = ("low", "medium", "high", "xhigh", "max")
HELP: Final = {"help_option_names": ["-h", "--help"]}
POLICIES: Final = ("allow", "workspace", "reads", "ask", "deny")


def _remember(context: click.Context, option: click.Parameter, value: Any) -> None:
    caller = context.ensure_object(Caller)
    if value:
        setattr(caller, str(option.name), value)


def _global_options() -> list[click.Parameter]:
    """Taken before and after the command's name alike."""
    return [
        click.Option(
            ["--url"],
            metavar="URL",
            help="The gateway. Default: CLAWDFORGE_URL, then cf.env, then http://127.0.0.1:8800.",
            expose_value=False,
            callback=_remember,
        ),
        click.Option(
            ["--token"],
            metavar="TOKEN",
            help="The app's token. Better set CLAWDFORGE_TOKEN: a command line is visible to other users.",
            expose_value=False,
            callback=_remember,
        ),
        click.Option(
            ["--json", "as_json"],
            is_flag=True,
            help="Print exactly one JSON document, also for a failure (but for wrong usage).",
            expose_value=False,
            callback=_remember,
        ),
    ]


class _Helpful(click.Command):
    """Its examples name the console script that is run."""

    def get_help(self, ctx: click.Context) -> str:
        root = ctx.find_root().command
        return root.reworded(super().get_help(ctx)) if isinstance(root, Group) else super().get_help(ctx)


class Command(_Helpful):
    """A command that takes the global options too."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.extend(_global_options())


class Group(_Helpful, click.Group):
    """A group of such commands, and one that takes the global options itself."""

    command_class: type[click.Command] | None = Command

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.extend(_global_options())

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which they were added: what is wanted most comes first."""
        return [*self.commands]

    def reworded(self, text: str) -> str:
        """A help text as this root's commands have it. It is written for `clawdforge`."""
        return text


def choosing_an_agent(command: F) -> F:
    """Adds the options that say who shall work, and how."""
    for option in (
        click.option(
            "--permissions",
            type=click.Choice(POLICIES),
            help="What the agent may do unasked. Default: workspace, in a chat ask.",
        ),
        click.option("--effort", type=click.Choice(EFFORTS), help="How hard it shall think."),
        click.option("--system", metavar="TEXT", help="A system prompt, added to the agent's own."),
        click.option("--model", metavar="NAME", help="The model, by the agent's own name for it."),
        click.option(
            "--agent",
            metavar="NAME",
            help="Which agent: see `clawdforge agents`. Default: claude.",
            shell_complete=suggestions.agents,
        ),
    ):
        command = option(command)
    return command


def naming_a_session(command: F) -> F:
    """Adds the id of a session."""
    return click.argument("session_id", metavar="ID", callback=of_a_session, shell_complete=suggestions.sessions)(
        command
    )


def naming_a_session_or_run(command: F) -> F:
    """Adds the id of a session, or of a run."""
    return click.argument("session_id", metavar="ID", shell_complete=suggestions.sessions_and_runs)(command)


def of_a_session(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """The id, unless it is a run's: that takes no prompts, and what it changed is not kept."""
    if value is not None and value.startswith("run_"):
        raise click.BadParameter(
            "this is a run's, which can be watched, answered, exported and cancelled", context, parameter
        )
    return value


def asking(command: F) -> F:
    """Adds the prompt, and the options that go with one."""
    for decorate in (
        click.option(
            "--schema",
            type=EXISTING_FILE,
            callback=_json_object,
            metavar="FILE",
            help="A JSON Schema for the result.",
        ),
        click.option(
            "--timeout",
            "timeout_secs",
            type=click.IntRange(1, 86_400),
            metavar="SECONDS",
            help="When to give up. Default: 120; none where you are asked what the agent may do.",
        ),
        click.option(
            "-f",
            "--file",
            "attached",
            type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
            multiple=True,
            callback=_files,
            metavar="PATH",
            help="Upload this file (-: stdin) and hand it to the agent. May be repeated.",
        ),
        click.argument("prompt", callback=_prompt),
    ):
        command = decorate(command)
    return command


def _prompt(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """The prompt itself, or all of stdin for `-`."""
    if value == "-" and not context.resilient_parsing:
        try:
            value = _stdin(context, parameter, "The prompt").decode("utf-8")
        except UnicodeDecodeError as error:
            raise click.BadParameter(f"stdin is not UTF-8 (byte {error.start})", context, parameter) from None
    if not value.strip():
        raise click.BadParameter("it is empty", context, parameter)
    return value


def _files(context: click.Context, parameter: click.Parameter, value: tuple[Path, ...]) -> tuple[Attached, ...]:
    """The paths, with all of stdin for `-`."""
    return tuple(_Stdin(_stdin(context, parameter, "The file")) if str(each) == "-" else each for each in value)


class _Stdin(io.BytesIO):
    """What came by stdin, to be uploaded: read whole, since an upload may have to be tried again."""

    name = "stdin"


def _stdin(context: click.Context, parameter: click.Parameter, what: str) -> bytes:
    if __name__ in context.meta:
        raise click.BadParameter("stdin can be read only once", context, parameter)
    context.meta[__name__] = "stdin was read"
    if sys.stdin.isatty():
        terminal.note(f"{what}, please; Ctrl-D on a line of its own ends it.")
    return sys.stdin.buffer.read()


def _json_object(context: click.Context, parameter: click.Parameter, value: Path | None) -> dict[str, Any] | None:
    if value is None:
        return None
    try:
        return parsed_object(value.read_bytes())
    except (OSError, ValueError) as error:
        raise click.BadParameter(f"{value}: {error}", context, parameter) from None


def parsed_object(text: str | bytes) -> dict[str, Any]:
    """A JSON object.

    Raises:
        ValueError: it is none.
    """
    try:
        parsed = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error}") from None
    except RecursionError:
        raise ValueError("too deep") from None
    if not isinstance(parsed, dict):
        raise ValueError("not a JSON object")
    return parsed
