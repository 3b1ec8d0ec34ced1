"""Sums over the audit: what an app's turns took. One statement a question, as in `queries`."""

# ruff: noqa: S608 - only names of our own are put into the SQL; every value is bound

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import fields
from datetime import date
from typing import Any, Final

from clawdforge.wire.usage import By, Tokens, UsageGroup, UsageReport, UsageSum

GROUPS_LIMIT: Final = 1_000
"""So many groups are told: models may have any names, and as many as there are turns."""

_DAY_MS: Final = 86_400_000
_EPOCH: Final = date(1970, 1, 1).toordinal()
_COST_DIGITS: Final = 9

_KEYS: Final[Mapping[By | None, str]] = {
    None: "NULL",
    "agent": "agent",
    "model": "model",
    "day": f"at_ms / {_DAY_MS}",
}
_SUMS: Final = {
    "turns": "count(*)",
    "duration_ms": "sum(duration_ms)",
    **{field.name: f"sum({field.name})" for field in fields(Tokens)},
    "cost_usd": "sum(cost_usd)",
    "estimated_turns": "sum(estimated)",
    "estimated_tokens": "sum(estimated * total_tokens)",
}
_SELECT: Final = ", ".join(f"{sql} AS {name}_sum" for name, sql in _SUMS.items())


def usage(
    connection: sqlite3.Connection, app_id: str, *, since: int | None, until: int | None, by: By | None
) -> UsageReport:
    where = "app_id = ?"
    values: list[Any] = [app_id]
    for condition, time in (("at_ms >= ?", since), ("at_ms < ?", until)):
        if time is not None:
            where += f" AND {condition}"
            values.append(time * 1000)
    order = "key DESC" if by == "day" else "total_tokens_sum DESC, key"
    found = connection.execute(
        f"SELECT {_KEYS[by]} AS key, {_SELECT} FROM audit WHERE {where} GROUP BY key ORDER BY {order}", values
    )
    total = dict.fromkeys(_SUMS, 0) | {"cost_usd": None}
    groups: list[UsageGroup] = []
    count = 0
    for key, *sums in found:
        told = dict(zip(_SUMS, sums, strict=True))
        total = {name: _added(total[name], told[name]) for name in _SUMS}
        count += 1
        if by is not None and count <= GROUPS_LIMIT:
            groups.append(UsageGroup(key=_day(key) if by == "day" else key, **_rounded(told)))
    left_out = 0 if by is None else count - len(groups)
    return UsageReport(True, since, until, by, UsageSum(**_rounded(total)), groups, left_out)


def _added(one: Any, other: Any) -> Any:
    return one if other is None else other if one is None else one + other


def _rounded(sums: dict[str, Any]) -> dict[str, Any]:
    """Sums of money without what binary fractions leave over."""
    cost_usd = sums["cost_usd"]
    return sums if cost_usd is None else {**sums, "cost_usd": round(cost_usd, _COST_DIGITS)}


def _day(number: int) -> str:
    return date.fromordinal(_EPOCH + number).isoformat()
