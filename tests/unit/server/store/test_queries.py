from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from clawdforge.server.store import migrate, queries


def test_the_events_of_one_turn_are_read_without_the_rest_of_its_session(tmp_path: Path) -> None:
    path = tmp_path / "clawdforge.db"
    migrate.prepare(path)
    asked: list[str] = []
    with closing(sqlite3.connect(path)) as connection:
        connection.set_trace_callback(asked.append)
        queries.events(connection, "s", after=0, turn_index=7, limit=None)
        connection.set_trace_callback(None)
        [question] = asked
        plan = [row[-1] for row in connection.execute(f"EXPLAIN QUERY PLAN {question}")]
    read, *marks = [step for step in plan if "events" in step]
    assert read == "SEARCH events USING INDEX sqlite_autoindex_events_1 (session_key=? AND seq>? AND seq<?)"
    assert len(marks) == 2
    assert all("INDEX events_of_turns (session_key=? AND turn_index=?)" in step for step in marks)
