"""The table of ends, row by row, and against the contract's own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from clawdforge.server.agents.base import Answered, Attachment, Failed, Prompt
from clawdforge.server.sessions import state
from clawdforge.server.sessions.state import ENDS, EndKind, TurnEnd
from clawdforge.server.store.stored import TurnRow
from clawdforge.wire.events import Draft
from clawdforge.wire.problems import STATUS, Problem
from clawdforge.wire.usage import Usage
from harness import documents

# stop reason: record's status, error code, its HTTP status, ok
TABLE = {
    "end_turn": ("done", None, 200, True),
    "max_tokens": ("done", None, 200, True),
    "max_turn_requests": ("done", None, 200, True),
    "refusal": ("done", None, 200, False),
    "cancelled": ("done", None, 200, False),
    "timeout": ("failed", "timeout", 504, False),
    "agent_failed": ("failed", "agent_failed", 502, False),
    "interrupted": ("failed", "interrupted", 502, False),
    "budget_exceeded": ("failed", "budget_exceeded", 429, False),
}


HEAD = ("stop_reason", "HTTP when blocking", "ok")
"""The contract's table, in docs/api.md."""


def promised() -> dict[str, tuple[int, str | None, str]]:
    """What the contract says of each end: the HTTP status, the error code, and its words on `ok`."""
    found: dict[str, tuple[int, str | None, str]] = {}
    for reasons, answer, ok in documents.rows("docs/api.md", HEAD):
        status, code = re.match(r"(\d+)(?: `(\w+)`)?", answer).groups()  # type: ignore[union-attr]  # all begin so
        for reason in re.findall(r"`(\w+)`", reasons):
            assert reason not in found
            found[reason] = (int(status), code, ok)
    return found


def test_the_table_has_the_contract_s_rows_and_no_more() -> None:
    assert set(ENDS) == set(TABLE) == set(promised())


@pytest.mark.guarantee
@pytest.mark.parametrize("reason", TABLE)
def test_a_row_is_the_contract_s_own(reason: str) -> None:
    http_status, code, ok = promised()[reason]
    kind = ENDS[reason]
    assert kind.error == code
    assert (200 if kind.error is None else STATUS[kind.error]) == http_status
    assert ok.split(";")[0] == ("–" if kind.error else str(kind.ok).lower())
    spoiled = TurnEnd(reason).ok(empty=False) and not TurnEnd(reason).ok(empty=True)
    assert ("false with `empty: true`" in ok) is spoiled


@pytest.mark.parametrize("reason", TABLE)
def test_a_row_is_what_the_contract_says(reason: str) -> None:
    status, error, http_status, ok = TABLE[reason]
    assert ENDS[reason] == EndKind(status, error, ok)  # type: ignore[arg-type]  # the table above is plain text
    assert (200 if error is None else STATUS[error]) == http_status


@pytest.mark.parametrize("reason", TABLE)
def test_an_end_is_of_its_row(reason: str) -> None:
    end = TurnEnd(reason)
    assert end.kind is ENDS[reason]
    assert end.ok(empty=False) is TABLE[reason][3]


@pytest.mark.guarantee
@pytest.mark.parametrize("reason", TABLE)
def test_only_an_end_turn_is_spoiled_by_having_done_nothing(reason: str) -> None:
    assert TurnEnd(reason).ok(empty=True) is (TABLE[reason][3] and reason != "end_turn")


@pytest.mark.parametrize("reason", ["end_turn", "max_tokens", "max_turn_requests", "refusal", "cancelled"])
def test_an_agent_s_answer_ends_a_turn_in_its_own_words(reason: str) -> None:
    end = state.by_agent(Answered(reason))
    assert (end.stop_reason, end.agent_usable) == (reason, True)


@pytest.mark.parametrize("alive", [True, False])
def test_an_agent_s_failure_is_told_with_what_is_known(alive: bool) -> None:
    end = state.by_agent(Failed("it broke", exit_code=7, stderr_tail="why", alive=alive))
    assert (end.stop_reason, end.detail, end.agent_usable) == ("agent_failed", "it broke", alive)
    assert end.extra == {"exit_code": 7, "stderr_tail": "why"}


def why(end: TurnEnd) -> Mapping[str, Any]:
    """What the log says of why a turn ended so."""
    error, last = state.last_events(TurnRow("sess_1", 1, "failed", 1000, end.stop_reason), end)
    assert (error.type, last.type) == ("error", "turn_end")
    return error.data


def test_a_limit_that_ended_an_agent_is_told_in_the_answer_and_the_log() -> None:
    end = state.by_agent(Failed("it took too much", exit_code=-9, limit="memory"))
    assert end.extra == {"exit_code": -9, "stderr_tail": "", "limit": "memory"}
    assert why(end) == {"code": "agent_failed", "detail": "it took too much", "limit": "memory"}
    plain = state.by_agent(Failed("it broke", exit_code=1))
    assert why(plain) == {"code": "agent_failed", "detail": "it broke"}


def test_an_agent_that_was_too_slow_to_start_is_a_timeout() -> None:
    end = state.by_agent(Failed("too slow", phase="startup", alive=True))
    assert (end.stop_reason, end.extra, end.agent_usable) == ("timeout", {"phase": "startup"}, False)


@pytest.mark.parametrize("phase", ["startup", "idle", "total"])
def test_after_a_timeout_the_agent_is_not_asked_again(phase: str) -> None:
    end = state.timed_out(phase, "too long")
    assert (end.stop_reason, end.detail, end.extra) == ("timeout", "too long", {"phase": phase})
    assert end.agent_usable is False


def test_after_an_interruption_the_agent_is_not_asked_again() -> None:
    end = state.interrupted()
    assert (end.stop_reason, end.agent_usable) == ("interrupted", False)
    assert "not known" in end.detail


def test_a_turn_that_never_began_says_that_no_agent_has_heard_of_it() -> None:
    end = state.never_begun()
    assert (end.stop_reason, end.agent_usable) == ("interrupted", True)
    assert "no agent has heard" in end.detail


def test_after_a_fault_of_the_gateway_s_own_the_agent_is_not_asked_again() -> None:
    end = state.broken()
    assert (end.stop_reason, end.agent_usable, end.extra) == ("agent_failed", False, {})


def test_after_a_cancel_the_agent_can_be_asked_again_unless_it_was_lost() -> None:
    end = state.cancelled()
    assert (end.stop_reason, end.agent_usable, end.refused) == ("cancelled", True, None)
    lost = state.with_lost_agent(end)
    assert (lost.stop_reason, lost.agent_usable) == ("cancelled", False)
    assert end.agent_usable is True


def test_losing_the_agent_keeps_the_rest_of_an_end() -> None:
    refused = Problem("invalid", "no such model")
    end = TurnEnd("agent_failed", "detail", {"exit_code": 1}, refused=refused)
    lost = state.with_lost_agent(end)
    assert (lost.detail, lost.extra, lost.refused) == (end.detail, end.extra, refused)


def test_the_event_of_an_end_tells_what_the_record_tells() -> None:
    row = TurnRow("sess_1", 4, "done", 1000, "end_turn", True, 250, None, None, {"output_tokens": 9})
    (draft,) = state.last_events(row, TurnEnd("end_turn"))
    assert draft.type == "turn_end"
    assert draft.data == {
        "stop_reason": "end_turn",
        "ok": True,
        "duration_ms": 250,
        "usage": {"output_tokens": 9},
    }


def test_a_value_that_the_agent_refused_is_answered_in_place_of_the_error() -> None:
    end = TurnEnd("agent_failed", "no such model", refused=Problem("invalid", "no such model", errors=["loc"]))
    assert (end.kind.error, end.error, end.told) == ("agent_failed", "invalid", {"errors": ["loc"]})


@pytest.mark.parametrize("reason", TABLE)
@pytest.mark.parametrize("empty", [True, False])
def test_the_row_of_an_end_is_of_the_table(reason: str, empty: bool) -> None:
    started = TurnRow("sess_1", 4, "running", 1000)
    end = TurnEnd(reason, "why" if TABLE[reason][1] else "")
    row = state.ended(started, end, empty=empty, duration_ms=7, used=Usage(output_tokens=9), model="m")
    assert (row.status, row.error) == TABLE[reason][:2]
    assert row.ok is end.ok(empty=empty)
    assert (row.stop_reason, row.duration_ms, row.model, row.detail) == (reason, 7, "m", end.detail or None)
    assert (row.session_id, row.turn_index, row.started_at_ms) == ("sess_1", 4, 1000)
    assert row.usage is not None
    assert row.usage["output_tokens"] == 9


def test_the_events_that_begin_a_turn_tell_its_prompt_and_the_names_of_its_files() -> None:
    prompt = Prompt("read it", [Attachment(Path("/w/a note.txt"), 3)])
    assert state.turn_queued(prompt) == Draft("turn_queued", {"prompt": "read it"})
    assert state.turn_start(prompt) == Draft("turn_start", {"prompt": "read it", "files": ["a note.txt"]})
