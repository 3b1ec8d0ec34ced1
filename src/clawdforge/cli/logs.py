"""`clawdforge logs`: what this app has asked lately, runs and turns alike."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from clawdforge.cli import terminal
from clawdforge.cli.caller import Caller, pass_caller
from clawdforge.cli.options import Command

if TYPE_CHECKING:
    from clawdforge.client.forge import Forge


@dataclass(frozen=True, slots=True)
class Asked:
    """A run, or a turn of a session: `id` is `run_…`, or `sess_…#N`. `at` is epoch seconds."""

    id: str
    at: int
    agent: str
    model: str | None
    status: str
    duration_ms: int | None
    error: str | None

    @property
    def went_wrong(self) -> bool:
        """Whether it ended without an answer."""
        return self.status not in ("ok", "running", "queued")


@click.command(cls=Command)
@click.argument("id_", metavar="[ID]", required=False)
@click.option("-n", "--limit", type=click.IntRange(1, 10_000), default=20, help="How many at most. Default: 20.")
@click.option("--failed", is_flag=True, help="Only those that ended without an answer.")
@pass_caller
def logs(caller: Caller, id_: str | None, limit: int, failed: bool) -> None:
    """List what this app has asked: runs and turns.

    The newest come first. With an ID of the list, a run's or a turn's, print what is known of it, and its answer.

    \b
    Examples:
      clawdforge logs
      clawdforge logs --failed -n 50
      clawdforge logs sess_abc#1
    """
    with caller.forge() as forge:
        if id_ is not None:
            _show(caller, _record(forge, id_))
            return
        rows = recent(forge, limit, failed=failed)
    if caller.as_json:
        terminal.emit({"ok": True, "logs": [asdict(row) for row in rows], "count": len(rows)})
        return
    terminal.table(
        ("ID", "WHEN", "AGENT", "STATUS", "SECONDS", "ERROR"),
        [
            (
                row.id,
                terminal.when_text(row.at),
                row.agent if row.model is None else f"{row.agent} {row.model}",
                row.status,
                "-" if row.duration_ms is None else f"{row.duration_ms / 1000:.1f}",
                row.error or "",
            )
            for row in rows
        ],
    )


def recent(forge: Forge, limit: int, *, failed: bool) -> list[Asked]:
    """The newest runs and turns, newest first; with `failed` only those that went wrong."""

    def wanted(rows: Iterator[Asked]) -> Iterator[Asked]:
        return islice((row for row in rows if row.went_wrong or not failed), limit)

    found = list(wanted(_runs(forge)))
    sessions = [row for row in forge.sessions() if isinstance(row.get("last_turn_at"), int)]
    sessions.sort(key=lambda row: row["last_turn_at"], reverse=True)
    for row in sessions:
        # Nothing in this session, nor in those after it, is newer than its last turn's last sign of life.
        if sum(each.at > row["last_turn_at"] for each in found) >= limit:
            break
        found += wanted(_turns(forge, row))
    return sorted(found, key=lambda each: each.at, reverse=True)[:limit]


def _runs(forge: Forge) -> Iterator[Asked]:
    for run in forge.runs():
        yield _asked(run, str(run.get("run_id")), run.get("created_at"), run.get("agent"))


def _turns(forge: Forge, session: dict[str, Any]) -> Iterator[Asked]:
    name = str(session.get("session_id"))
    for turn in forge.attach_session(name).turns():
        yield _asked(turn, f"{name}#{turn.get('turn_index')}", turn.get("started_at"), session.get("agent"))


def _asked(record: dict[str, Any], name: str, at: Any, agent: Any) -> Asked:
    error = record.get("error")
    status = record.get("status")
    if status == "done":
        status = "ok" if record.get("ok") else record.get("stop_reason")
        status = "empty" if status == "end_turn" else status
    return Asked(
        id=name,
        at=at if isinstance(at, int) else 0,
        agent=str(agent),
        model=record.get("model"),
        status=str(status),
        duration_ms=record.get("duration_ms"),
        error=f"{error.get('code')}: {error.get('detail')}" if isinstance(error, dict) else None,
    )


def _record(forge: Forge, name: str) -> dict[str, Any]:
    session_id, mark, index = name.partition("#")
    if not mark:
        run = forge.get_run(name)
        # Of one that failed the result is none, but something may have been said.
        return run if run.get("result") is not None else {**run, "events": _said(forge, name)}
    if not (index.isascii() and index.isdigit()):
        raise click.BadParameter(f"{name!r} is none of the list: run_… or sess_…#N")
    return forge.attach_session(session_id).get_turn(int(index))


def _said(forge: Forge, run_id: str) -> Any:
    return forge.attach_session(run_id).get_turn(1).get("events")


def _show(caller: Caller, record: dict[str, Any]) -> None:
    if caller.as_json:
        terminal.emit(record)
        return
    answer = record.get("result")
    if answer is None:
        from clawdforge.cli.summary import answer_text

        answer = answer_text(record)
    hidden = ("ok", "result", "events")
    terminal.record({name: value for name, value in record.items() if name not in hidden and value is not None})
    terminal.say("")
    terminal.say(terminal.value_text(answer))
