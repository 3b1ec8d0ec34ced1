"""`clawdforge session answer`: what an agent asks for, answered from another terminal or a script."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import click

from clawdforge.cli import terminal
from clawdforge.cli.caller import Caller, pass_caller
from clawdforge.cli.failures import Exit, Failure
from clawdforge.cli.options import Command, naming_a_session_or_run
from clawdforge.wire import codec
from clawdforge.wire.permissions import Decision

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clawdforge.wire.permissions import PermissionItem


@click.command(cls=Command)
@naming_a_session_or_run
@click.argument("decision", type=click.Choice(get_args(Decision)), required=False)
@click.option("--permission", "permission_id", metavar="ID", help="Which request. Default: the only one.")
@pass_caller
def answer(caller: Caller, session_id: str, decision: Any, permission_id: str | None) -> None:
    """Answer what an agent asks for.

    DECISION is allow, allow_always, reject or reject_always. Without one it lists what waits for an answer.

    \b
    Examples:
      clawdforge session answer sess_abc
      clawdforge session answer sess_abc allow
    """
    with caller.forge() as forge:
        session = forge.attach_session(session_id)
        if decision is None:
            _list(caller, session.permissions())
            return
        answered = session.answer(permission_id or _the_only_one(session.permissions()), decision)
    if caller.as_json:
        terminal.emit(codec.to_json(answered))
    else:
        terminal.note(f"{answered.permission_id}: {answered.decision}")


def _list(caller: Caller, waiting: Sequence[PermissionItem]) -> None:
    if caller.as_json:
        terminal.emit({"ok": True, "permissions": [*map(codec.to_json, waiting)], "count": len(waiting)})
        return
    terminal.table(
        ("PERMISSION", "KIND", "REFUSED AT", "WHAT IT ASKS FOR"),
        [
            (each.permission_id, each.kind, terminal.time_text(each.expires_at // 1000), each.title)
            for each in waiting
        ],
    )


def _the_only_one(waiting: Sequence[PermissionItem]) -> str:
    """The id of the request that waits.

    Raises:
        Failure: there is none, or more than one.
    """
    if len(waiting) == 1:
        return waiting[0].permission_id
    if not waiting:
        raise Failure("nothing waits for an answer there", Exit.REFUSED)
    which = "Name one: --permission ID; without a decision they are listed."
    raise Failure(f"{len(waiting)} requests wait for an answer there", Exit.USAGE, which)
