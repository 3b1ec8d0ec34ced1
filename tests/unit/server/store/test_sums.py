"""How the sums of usage are read: what they are is in the contract tests of stores."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import get_args

import pytest

from clawdforge.server.store import migrate, sums
from clawdforge.wire.usage import By


@pytest.mark.parametrize("by", [None, *get_args(By)])
@pytest.mark.parametrize(("since", "until"), [(None, None), (5, None), (None, 9), (5, 9)])
def test_sums_read_the_index_alone_and_of_it_the_app_s_own_part(
    tmp_path: Path, by: By | None, since: int | None, until: int | None
) -> None:
    path = tmp_path / "clawdforge.db"
    migrate.prepare(path)
    asked: list[str] = []
    with closing(sqlite3.connect(path)) as connection:
        connection.set_trace_callback(asked.append)
        sums.usage(connection, "app_1", since=since, until=until, by=by)
        connection.set_trace_callback(None)
        [question] = asked
        plan = [row[-1] for row in connection.execute(f"EXPLAIN QUERY PLAN {question}")]
    [read] = [step for step in plan if "audit" in step]
    assert read.startswith("SEARCH audit USING COVERING INDEX audit_usage (app_id=?")
    assert ("at_ms>?" in read) is (since is not None)
    assert ("at_ms<?" in read) is (until is not None)
