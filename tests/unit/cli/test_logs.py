"""What was asked lately: runs and turns in one order, and no more is fetched than is shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from clawdforge.cli import logs
from clawdforge.client.forge import Forge


@dataclass
class Kept:
    """What a gateway has kept, and which sessions were looked into. `sessions` are their turns' times."""

    run_times: list[int]
    sessions_: dict[str, list[int]]
    failed: frozenset[int] = frozenset()
    looked_into: list[str] = field(default_factory=list)

    def runs(self) -> Iterator[dict[str, Any]]:
        for at in self.run_times:
            yield {"run_id": f"run_{at}", "created_at": at, "agent": "fake", **self._end(at)}

    def sessions(self) -> Iterator[dict[str, Any]]:
        for name, times in self.sessions_.items():
            yield {"session_id": name, "agent": "fake", "last_turn_at": max(times, default=None)}

    def attach_session(self, name: str) -> Kept:
        self.looked_into.append(name)
        return self

    def turns(self) -> Iterator[dict[str, Any]]:
        times = self.sessions_[self.looked_into[-1]]
        for index, at in reversed(list(enumerate(times, start=1))):
            yield {"turn_index": index, "started_at": at, **self._end(at)}

    def _end(self, at: int) -> dict[str, Any]:
        if at in self.failed:
            return {"status": "failed", "ok": None, "error": {"code": "timeout", "detail": "slow"}}
        return {"status": "done", "ok": True, "stop_reason": "end_turn", "duration_ms": 5}


def recent(kept: Kept, limit: int, *, failed: bool = False) -> list[str]:
    return [row.id for row in logs.recent(cast(Forge, kept), limit, failed=failed)]


def test_runs_and_turns_stand_in_one_order_the_newest_first() -> None:
    kept = Kept([50, 10], {"a": [20, 60], "b": [], "c": [30]})

    assert recent(kept, 9) == ["a#2", "run_50", "c#1", "a#1", "run_10"]
    assert recent(kept, 2) == ["a#2", "run_50"]
    assert recent(Kept([], {}), 9) == []


def test_sessions_that_are_older_than_what_is_shown_are_not_looked_into() -> None:
    kept = Kept([], {"old": [1, 2], "new": [10, 11, 12], "mid": [5]})

    assert recent(kept, 3) == ["new#3", "new#2", "new#1"]
    assert kept.looked_into == ["new"]


def test_only_what_went_wrong_is_shown_if_so_asked() -> None:
    kept = Kept([50, 10], {"a": [20, 60]}, failed=frozenset({10, 60}))

    assert recent(kept, 9, failed=True) == ["a#2", "run_10"]


@pytest.mark.parametrize(
    ("end", "status", "error"),
    [
        ({"status": "done", "ok": True, "stop_reason": "max_tokens"}, "ok", None),
        ({"status": "done", "ok": False, "stop_reason": "refusal"}, "refusal", None),
        ({"status": "done", "ok": False, "stop_reason": "end_turn"}, "empty", None),
        ({"status": "failed", "error": {"code": "timeout", "detail": "slow"}}, "failed", "timeout: slow"),
        ({"status": "running"}, "running", None),
        ({"status": "queued"}, "queued", None),
    ],
)
def test_how_it_ended_is_one_word(end: dict[str, Any], status: str, error: str | None) -> None:
    row = logs._asked(end, "run_1", None, None)

    assert (row.status, row.error, row.at) == (status, error, 0)
    assert row.went_wrong == (status not in ("ok", "running", "queued"))
