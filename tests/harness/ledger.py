"""What a gateway has stored and what its agents were told, read from outside, and the laws that both must obey."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from clawdforge.server.agents.prompts import FITTING
from harness.agent_log import AgentLog

Row = dict[str, Any]


class Ledger:
    """The database of a gateway, opened anew for each question and only to read."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / "clawdforge.db"

    def rows(self, question: str, *values: Any) -> list[Row]:
        with closing(sqlite3.connect(f"file:{self._path}?mode=ro", uri=True)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(question, values)]

    def sessions(self, app_name: str) -> list[Row]:
        """The app's sessions and runs."""
        return self.rows("SELECT * FROM sessions WHERE app_name = ?", app_name)

    def turns(self, session_id: str) -> list[Row]:
        return self.rows(
            "SELECT turns.* FROM turns JOIN sessions USING (session_key) WHERE session_id = ? ORDER BY turn_index",
            session_id,
        )

    def events(self, session_id: str) -> list[Row]:
        found = self.rows(
            "SELECT events.* FROM events JOIN sessions USING (session_key) WHERE session_id = ? ORDER BY seq",
            session_id,
        )
        return [{**row, "data": json.loads(row["data"])} for row in found]

    def audit(self, session_id: str) -> list[Row]:
        return self.rows("SELECT * FROM audit WHERE session_id = ? ORDER BY audit_key", session_id)


def check(ledger: Ledger, app_name: str, agent_log: AgentLog) -> None:
    """The laws of the log, for all that an app has done. No turn of it may still run."""
    for session in ledger.sessions(app_name):
        check_session(ledger, session, list(prompts(agent_log.of(session["session_id"], "session/prompt"))))


def check_session(ledger: Ledger, session: Row, told: list[str]) -> None:
    """One session: its events follow each other, a close is the last. Each turn ends once, is in the audit, was
    told at most once; one that was queued may end before it begins, and before those ahead of it. A fork's first
    turns are another session's, and in the audit for that one alone.
    """
    session_id = session["session_id"]
    events, turns, audit = ledger.events(session_id), ledger.turns(session_id), ledger.audit(session_id)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    indexes = list(range(1, session["turn_count"] + 1))
    assert [turn["turn_index"] for turn in turns] == indexes
    closes = [event["seq"] for event in events if event["type"] == "session_closed"]
    assert closes == ([] if session["closed_at"] is None else [len(events)])
    starts = [event for event in events if event["type"] == "turn_start"]
    ends = sorted((event for event in events if event["type"] == "turn_end"), key=lambda each: each["turn_index"])
    audit.sort(key=lambda each: each["turn_index"])
    assert [event["turn_index"] for event in ends] == indexes
    others = 0 if session["forked_from"] is None else json.loads(session["forked_from"])["turn_index"]
    assert [line["turn_index"] for line in audit] == indexes[others:]
    check_begun(starts, [event for event in events if event["type"] == "turn_queued"], ends)
    assert {event["turn_index"]: event["seq"] for event in events if event["turn_index"]} == {
        event["turn_index"]: event["seq"] for event in ends
    }, "nothing of a turn follows on its end"
    for turn, line, end in zip(turns[others:], audit, ends[others:], strict=True):
        check_end(turn, line, end["data"])
        assert line["prompt"] is None
        assert (line["app_name"], line["kind"]) == (session["app_name"], session["kind"])
    asked = [event for event in events if event["type"] in ("turn_start", "schema_repair")]
    check_told([event["data"]["prompt"] for event in asked], told)
    repaired = [event["turn_index"] for event in asked if event["type"] == "schema_repair"]
    assert repaired == sorted(set(repaired)), "a result is asked for again once at most"
    check_permissions(events)


def check_begun(starts: list[Row], queued: list[Row], ends: list[Row]) -> None:
    """A turn begins once, in its order, unless it waited and was ended before; nothing of it precedes that."""
    first: dict[int, int] = {}
    for event in (*queued, *starts):
        first.setdefault(event["turn_index"], event["seq"])
    assert [*sorted(first)] == [event["turn_index"] for event in ends]
    assert all(first[event["turn_index"]] < event["seq"] for event in ends)
    begun = [event["turn_index"] for event in starts]
    assert begun == sorted(set(begun))
    never = set(first) - set(begun)
    stopped = {each["turn_index"] for each in ends if each["data"]["stop_reason"] in ("cancelled", "interrupted")}
    assert never <= stopped & {event["turn_index"] for event in queued}


def check_end(turn: Row, line: Row, end: Row) -> None:
    """A turn's row, its line of the audit and its last event tell the same."""
    assert turn["status"] in ("done", "failed")
    assert turn["stop_reason"] == line["stop_reason"] == end["stop_reason"]
    assert bool(turn["ok"]) is bool(line["ok"]) is end["ok"]
    assert turn["duration_ms"] == line["duration_ms"] == end["duration_ms"]
    assert (turn["error"] is None) is (turn["status"] == "done")
    assert turn["model"] == line["model"]
    usage = json.loads(turn["usage"])
    assert usage == end["usage"]
    assert bool(line["estimated"]) is (usage.pop("source") == "estimate")
    assert usage == {name: line[name] for name in usage}


def check_permissions(events: list[Row]) -> None:
    """Each request for permission has one answer, after it and in its turn, before the end of that."""
    asked = {each["data"]["permission_id"]: each for each in events if each["type"] == "permission_request"}
    given = [each for each in events if each["type"] == "permission_answer"]
    assert sorted(asked) == sorted(each["data"]["permission_id"] for each in given)
    ends = {each["turn_index"]: each["seq"] for each in events if each["type"] == "turn_end"}
    for answer in given:
        request = asked[answer["data"]["permission_id"]]
        assert answer["turn_index"] == request["turn_index"]
        assert request["seq"] < answer["seq"]
        assert answer["turn_index"] is None or answer["seq"] < ends[answer["turn_index"]]


def check_told(asked: list[str], told: list[str]) -> None:
    """What reached the agents is what was asked, in its order, nothing twice; some may not have reached one."""
    left = iter(asked)
    assert all(prompt in left for prompt in told), f"asked {asked}, told {told}"


def prompts(heard: Iterable[Row]) -> Iterator[str]:
    """What was asked, in each `session/prompt` that agents heard: no picture's name, no schema."""
    for entry in heard:
        texts = [block["text"] for block in entry["m"]["params"]["prompt"] if block["type"] == "text"]
        yield [text for text in texts if not text.startswith(("[@", FITTING))][-1]
