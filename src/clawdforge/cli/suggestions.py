"""What a shell completes beside the names of commands and options: sessions and agents, as the gateway tells them.

Must be quick and silent: whoever presses Tab wants neither an error nor to wait.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain, islice
from typing import TYPE_CHECKING, Final

import click
from click.shell_completion import CompletionItem

from clawdforge.cli import failures, terminal
from clawdforge.cli.caller import Caller
from clawdforge.errors import ForgeError

if TYPE_CHECKING:
    from clawdforge.client.forge import Forge

_PATIENCE_S: Final = 2
_RUNS: Final = 10


def sessions(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """This app's open sessions, newest first."""
    return _asked(context, incomplete, _sessions)


def sessions_and_runs(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The same, and behind them its latest runs."""
    return _asked(context, incomplete, lambda forge: chain(_sessions(forge), _runs(forge)))


def agents(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The agents that can work there."""
    return _asked(context, incomplete, _agents)


def _sessions(forge: Forge) -> Iterator[CompletionItem]:
    for row in forge.list_sessions(include_closed=False)["sessions"]:
        used = terminal.time_text(row["last_turn_at"] or row["created_at"])
        help_ = f"{row['agent']}; turns: {row['turn_count']}; {used}"  # no comma: fish ends there
        yield CompletionItem(row["session_id"], help=help_)


def _runs(forge: Forge) -> Iterator[CompletionItem]:
    for row in islice(forge.runs(), _RUNS):
        help_ = f"{row['agent']}; {row['status']}; {terminal.time_text(row['created_at'])}"
        yield CompletionItem(row["run_id"], help=help_)


def _agents(forge: Forge) -> Iterator[CompletionItem]:
    for row in forge.agents()["agents"]:
        if row["available"]:
            yield CompletionItem(row["name"], help=row["title"])


def _asked(
    context: click.Context, incomplete: str, found: Callable[[Forge], Iterator[CompletionItem]]
) -> list[CompletionItem]:
    """What was found within the time that one waits for; a thread that takes longer ends with the process."""
    caller = context.ensure_object(Caller)
    items: list[CompletionItem] = []

    def ask() -> None:
        # What goes wrong means that nothing can be completed, which is all that a shell wants to know.
        wrong = (ForgeError, failures.Failure, LookupError, TypeError, AttributeError)
        with suppress(*wrong), caller.forge(retries=0) as forge:
            items.extend(item for item in found(forge) if item.value.startswith(incomplete))

    thread = threading.Thread(target=ask, name="asks for suggestions", daemon=True)
    thread.start()
    thread.join(_PATIENCE_S)
    return list(items)
