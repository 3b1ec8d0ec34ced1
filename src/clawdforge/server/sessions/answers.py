"""What callers are told of sessions, turns and runs: from rows and ends to values of the wire. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clawdforge.server.agents.base import AgentFailed
from clawdforge.server.sessions import state
from clawdforge.server.store.stored import RunRow, SessionRow, TurnRow
from clawdforge.wire import codec, events, results
from clawdforge.wire.problems import Problem
from clawdforge.wire.runs import RunError, RunInfo, RunItem, RunResult
from clawdforge.wire.sandbox import Sandbox
from clawdforge.wire.sessions import ForkedFrom, SessionInfo, SessionItem
from clawdforge.wire.turns import TurnError, TurnInfo, TurnItem, TurnResult
from clawdforge.wire.usage import Usage


def session_item(row: SessionRow, sandbox: Sandbox) -> SessionItem:
    """A row of the list."""
    return SessionItem(
        session_id=row.session_id,
        app_name=row.app_name,
        agent=row.agent,
        cwd=row.cwd,
        created_at=row.created_at,
        last_turn_at=row.last_turn_at,
        turn_count=row.turn_count,
        closed_at=row.closed_at,
        meta=row.meta,
        sandbox=sandbox,
    )


def forked_from(row: SessionRow) -> ForkedFrom | None:
    """Where a fork comes from; None for what is none."""
    told = row.forked_from
    return None if told is None else ForkedFrom(told["session_id"], told["turn_index"])


def session_info(row: SessionRow, agent_cwd: str, sandbox: Sandbox, default_permissions: str) -> SessionInfo:
    """One session, whole."""
    return SessionInfo(
        ok=True,
        session_id=row.session_id,
        agent=row.agent,
        cwd=row.cwd,
        created_at=row.created_at,
        last_turn_at=row.last_turn_at,
        turn_count=row.turn_count,
        closed_at=row.closed_at,
        live=row.closed_at is None,
        meta=row.meta,
        app_name=row.app_name,
        agent_cwd=agent_cwd,
        sandbox=sandbox,
        model=row.options.get("model"),
        permissions=row.options.get("permissions") or default_permissions,
        close_reason=row.close_reason,
        forked_from=forked_from(row),
    )


def turn_answer(row: TurnRow, folded: list[dict[str, Any]]) -> TurnResult:
    """What a turn that has ended is answered with, whenever it is asked for.

    Raises:
        Problem: the turn ended in an error.
    """
    if row.error is not None:
        raise _turn_problem(row, folded)
    assert row.ok is not None and row.stop_reason is not None and row.duration_ms is not None
    verdict = row.extra or {}
    return TurnResult(
        ok=row.ok,
        session_id=row.session_id,
        turn_index=row.turn_index,
        events=folded,
        stop_reason=row.stop_reason,
        duration_ms=row.duration_ms,
        empty=_is_empty(row, folded),
        usage=row.usage,
        model=row.model,
        result=_result(row, folded) if verdict else None,
        **verdict,
    )


def run_answer(row: TurnRow, folded: list[dict[str, Any]], agent: str) -> RunResult:
    """The same of a run. Raises as `turn_answer`."""
    if row.error is not None:
        raise _turn_problem(row, folded, run_id=row.session_id)
    turn = turn_answer(row, folded)
    return RunResult(
        ok=turn.ok,
        result=_result(row, folded),
        duration_ms=turn.duration_ms,
        stop_reason=turn.stop_reason,
        run_id=turn.session_id,
        session_id=turn.session_id,
        turn_index=turn.turn_index,
        agent=agent,
        model=turn.model,
        empty=turn.empty,
        usage=turn.usage,
        schema_valid=turn.schema_valid,
        schema_errors=turn.schema_errors,
        schema_repaired=turn.schema_repaired,
    )


def _result(row: TurnRow, folded: list[dict[str, Any]]) -> Any:
    """What the answer of a turn that is done comes to; what is stored with it is what a schema said."""
    return results.parse(results.final_text(folded), amid_words=row.extra is not None)


def turn_item(row: TurnRow) -> TurnItem:
    """A row of the list of turns."""
    return TurnItem(**_turn_fields(row))


def turn_info(row: TurnRow, folded: list[dict[str, Any]]) -> TurnInfo:
    """One turn, whole; `folded` are its events so far."""
    failed = row.status == "failed"
    verdict = (row.extra or {}) if not failed else {}
    return TurnInfo(
        **_turn_fields(row),
        session_id=row.session_id,
        events=folded,
        empty=_is_empty(row, folded),
        extra=row.extra if failed else None,
        result=_result(row, folded) if verdict else None,
        **verdict,
    )


def _turn_fields(row: TurnRow) -> dict[str, Any]:
    return {
        "turn_index": row.turn_index,
        "status": row.status,
        "started_at": row.started_at_ms // 1000,
        "ok": row.ok,
        "stop_reason": row.stop_reason,
        "duration_ms": row.duration_ms,
        "error": None if row.error is None else TurnError(row.error, row.detail or ""),
        "usage": row.usage,
        "model": row.model,
    }


def _is_empty(row: TurnRow, folded: list[dict[str, Any]]) -> bool:
    return row.stop_reason == "end_turn" and nothing_done(folded)


def nothing_done(folded: list[dict[str, Any]]) -> bool:
    """Whether neither text nor a tool call came."""
    return not any(
        event["type"] == events.TOOL_CALL or (event["type"] == events.TEXT and event["content"])
        for event in folded
    )


def run_item(row: RunRow) -> RunItem:
    """A row of the list of runs."""
    return RunItem(**_run_fields(row))


def run_info(row: RunRow, folded: list[dict[str, Any]]) -> RunInfo:
    """One run, whole; `folded` are the events of its turn."""
    done = row.turn.status == "done"
    return RunInfo(**_run_fields(row), result=_result(row.turn, folded) if done else None)


def _run_fields(row: RunRow) -> dict[str, Any]:
    turn = row.turn
    return {
        "run_id": row.session.session_id,
        "status": turn.status,
        "agent": row.session.agent,
        "model": turn.model or row.session.options.get("model"),
        "created_at": row.session.created_at,
        "ok": turn.ok,
        "stop_reason": turn.stop_reason,
        "duration_ms": turn.duration_ms,
        "error": None if turn.error is None else RunError(turn.error, turn.detail or ""),
        "usage": None if turn.usage is None else codec.from_json(Usage, turn.usage),
    }


def _turn_problem(row: TurnRow, folded: list[dict[str, Any]], **more: Any) -> Problem:
    """A turn that ended in an error, with what was seen of it."""
    assert row.error is not None
    told: dict[str, Any] = {
        "session_id": row.session_id,
        "turn_index": row.turn_index,
        "stop_reason": row.stop_reason,
        "usage": row.usage,
        **more,
        **(row.extra or {}),
        "events": folded,
    }
    return Problem(row.error, row.detail or "", **told)


def start_problem(error: AgentFailed) -> Problem:
    """A session that could not be opened because its agent did not start."""
    end = state.by_agent(error.failure)
    assert end.kind.error is not None
    return Problem(end.kind.error, end.detail, **end.extra)


def unanswerable(told: Mapping[str, Any] | None) -> Problem:
    """A permission request that does not wait for an answer: `told` is the one it had, None where none was."""
    if told is None:
        return Problem("not_found", "permission request not found")
    detail = f"this request was answered already: {told['decision']!r}, by {told['by']}"
    return Problem("permission_answered", detail, **told)


def closed() -> Problem:
    """A session takes no more turns."""
    return Problem("session_closed", "this session is closed: open a new one")


def turn_in_progress(session_id: str) -> Problem:
    """A session has a turn already."""
    detail = 'a turn is running in this session: wait for its end, cancel it, or send with delivery "queue"'
    return Problem("turn_in_progress", detail, session_id=session_id)


def being_forked(session_id: str) -> Problem:
    """A session takes no turn while it is copied."""
    detail = "this session is being forked: its next turn has to wait for that"
    return Problem("turn_in_progress", detail, retry_after_s=1, session_id=session_id)


def too_many_queued(limit: int) -> Problem:
    """A session has as many prompts waiting as it may."""
    return Problem("too_many_turns", f"as many prompts wait in this session as may: {limit}", retry_after_s=5)


def too_many_turns() -> Problem:
    """The gateway has as many turns that run or wait as it may."""
    return Problem("too_many_turns", "as many turns run or wait as this gateway allows", retry_after_s=5)


def too_many_sessions(limit: int) -> Problem:
    """The app has as many sessions open as it may."""
    return Problem("too_many_sessions", f"this app has {limit} sessions open already: close some")


def shutting_down() -> Problem:
    """The gateway takes nothing new."""
    return Problem("shutting_down", "the gateway is stopping: try again when it is back", retry_after_s=5)
