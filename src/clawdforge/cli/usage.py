"""`clawdforge usage`: what the app's turns took."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any, Final

import click

from clawdforge.cli import terminal
from clawdforge.cli.caller import Caller, pass_caller
from clawdforge.cli.options import Command
from clawdforge.errors import ForgeProtocolError

_UNITS_S: Final = {"m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_SPAN: Final = re.compile(r"([0-9]{1,6})([mhdw])")
_HEADINGS: Final = ("TURNS", "SECONDS", "INPUT", "OUTPUT", "CACHED", "TOKENS", "ESTIMATED", "COST USD")


def _span_s(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    found = _SPAN.fullmatch(value)
    if found is None:
        raise click.BadParameter("a number and one of m, h, d, w: 7d", context, parameter)
    return int(found[1]) * _UNITS_S[found[2]]


@click.command(cls=Command)
@click.option("--by", type=click.Choice(["agent", "model", "day"]), help="One row for each, not only a total.")
@click.option("--since", "span_s", callback=_span_s, metavar="SPAN", help="How far back: 12h, 7d, 4w; else all.")
@pass_caller
def usage(caller: Caller, by: Any, span_s: int | None) -> None:
    """Show what this app's turns took.

    That is time, tokens and cost. ESTIMATED are those of the tokens that the agent did not tell.

    \b
    Examples:
      clawdforge usage --since 7d
      clawdforge usage --by day
    """
    since = None if span_s is None else max(0, int(time.time()) - span_s)
    with caller.forge() as forge:
        answer = forge.usage(since=since, by=by)
        total, groups = answer.get("total"), answer.get("groups")
        if not isinstance(total, dict) or not isinstance(groups, list):
            raise ForgeProtocolError("the sums of usage are missing")
    if caller.as_json:
        terminal.emit(answer)
        return
    rows = [(_text(row.get("key")), *_cells(row)) for row in groups if isinstance(row, dict)]
    terminal.table(((by or "all").upper(), *_HEADINGS), [*rows, ("total", *_cells(total))])
    if answer.get("left_out"):
        terminal.note(f"{answer['left_out']} more are only in the total.")


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    duration_ms, cost_usd = row.get("duration_ms"), row.get("cost_usd")
    return (
        _text(row.get("turns")),
        f"{duration_ms / 1000:.1f}" if isinstance(duration_ms, int) else "-",
        _text(row.get("input_tokens")),
        _text(row.get("output_tokens")),
        _text(row.get("cached_read_tokens")),
        _text(row.get("total_tokens")),
        _text(row.get("estimated_tokens")),
        f"{cost_usd:.4f}" if isinstance(cost_usd, int | float) else "-",
    )


def _text(value: Any) -> str:
    return "-" if value is None else str(value)
