"""What callers are told of sessions, turns and runs: from rows and ends to values of the wire. Pure."""

from __future__ import annotations

from typing import Any, Final

from clawdforge.server.agents.base import AgentFailed
from clawdforge.server.sessions import results, state
from clawdforge.server.sessions.state import TurnEnd
from clawdforge.server.sessions.verdicts import Verdict
from clawdforge.server.store.base import RunRow, SessionRow, TurnRow
from clawdforge.wire import codec
from clawdforge.wire.problems import Problem
from clawdforge.wire.runs import RunError, RunInfo, RunItem, RunResult
from clawdforge.wire.sandbox import Sandbox
from clawdforge.wire.sessions import SessionInfo, SessionItem
from clawdforge.wire.turns import TurnResult
from clawdforge.wire.usage import Usage

NO_SCHEMA: Final = Verdict()


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
    )


def turn_result(
    row: TurnRow, folded: list[dict[str, Any]], *, empty: bool, result: Any = None, verdict: Verdict = NO_SCHEMA
) -> TurnResult:
    """A turn that did not end in an error, with its result and what a schema said of that, where there is one."""
    assert row.ok is not None and row.stop_reason is not None and row.duration_ms is not None
    return TurnResult(
        ok=row.ok,
        session_id=row.session_id,
        turn_index=row.turn_index,
        events=folded,
        stop_reason=row.stop_reason,
        duration_ms=row.duration_ms,
        empty=empty,
        usage=row.usage,
        model=row.model,
        result=result,
        schema_valid=verdict.valid,
        schema_errors=verdict.errors,
    )


def run_result(turn: TurnResult, agent: str, schema: dict[str, Any] | None) -> RunResult:
    """A run, from its one turn."""
    result = results.parse(results.final_text(turn.events)) if schema is None else turn.result
    return RunResult(
        ok=turn.ok,
        result=result,
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
    )


def run_item(row: RunRow) -> RunItem:
    """A row of the list of runs."""
    return RunItem(**_run_fields(row))


def run_info(row: RunRow, folded: list[dict[str, Any]]) -> RunInfo:
    """One run, whole; `folded` are the events of its turn."""
    done = row.turn.status == "done"
    return RunInfo(**_run_fields(row), result=results.parse(results.final_text(folded)) if done else None)


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


def turn_problem(row: TurnRow, end: TurnEnd, *, of_run: bool) -> Problem:
    """A turn that ended in an error."""
    told: dict[str, Any] = {
        "session_id": row.session_id,
        "turn_index": row.turn_index,
        "stop_reason": end.stop_reason,
        "usage": row.usage,
    }
    if of_run:
        told["run_id"] = row.session_id
    if end.refused is not None:
        return Problem(end.refused.code, end.refused.detail, **{**end.refused.extra, **told})
    assert end.kind.error is not None
    return Problem(end.kind.error, end.detail, **{**told, **end.extra})


def start_problem(error: AgentFailed) -> Problem:
    """A session that could not be opened because its agent did not start."""
    end = state.by_agent(error.failure)
    assert end.kind.error is not None
    return Problem(end.kind.error, end.detail, **end.extra)


def closed() -> Problem:
    """A session takes no more turns."""
    return Problem("session_closed", "this session is closed: open a new one")


def turn_in_progress(session_id: str) -> Problem:
    """A session has a turn already."""
    detail = "a turn is running in this session: wait for its end, or close the session"
    return Problem("turn_in_progress", detail, session_id=session_id)


def too_many_turns() -> Problem:
    """The gateway runs as many turns as it may."""
    return Problem("too_many_turns", "as many turns are running as this gateway allows", retry_after_s=5)


def too_many_sessions(limit: int) -> Problem:
    """The app has as many sessions open as it may."""
    return Problem("too_many_sessions", f"this app has {limit} sessions open already: close some")


def shutting_down() -> Problem:
    """The gateway takes nothing new."""
    return Problem("shutting_down", "the gateway is stopping: try again when it is back", retry_after_s=5)
