"""What apps are told of sessions, turns and runs: values of the contract, made of what the fake knows. Pure."""

from __future__ import annotations

from typing import Any

from clawdforge.testing.fake_gateway import script
from clawdforge.testing.fake_gateway.session import AGENT_CWD, SANDBOX, Session, Turn
from clawdforge.wire import codec, events, results
from clawdforge.wire.problems import Problem
from clawdforge.wire.runs import RunError, RunInfo, RunItem, RunResult
from clawdforge.wire.sandbox import Sandbox
from clawdforge.wire.sessions import ForkedFrom, SessionCreated, SessionForked, SessionInfo, SessionItem
from clawdforge.wire.turns import TurnError, TurnInfo, TurnItem, TurnResult
from clawdforge.wire.usage import Usage


def created(session: Session) -> SessionCreated:
    """The answer to a new session."""
    return SessionCreated(True, *_made(session))


def forked(session: Session) -> SessionForked:
    """The answer to a fork."""
    return SessionForked(True, *_made(session), forked_from=_forked_from(session))


def _made(session: Session) -> tuple[str, str, int, str, str, Sandbox]:
    options = session.options
    return session.session_id, options.agent, session.created_at, session.cwd, AGENT_CWD, SANDBOX


def _forked_from(session: Session) -> ForkedFrom | None:
    return None if session.forked_from is None else ForkedFrom(*session.forked_from)


def session_item(session: Session) -> SessionItem:
    """A row of the list of sessions."""
    return SessionItem(**_session(session), sandbox=SANDBOX)


def session_info(session: Session) -> SessionInfo:
    """One session, whole."""
    return SessionInfo(
        ok=True,
        **_session(session),
        live=session.closed_at is None,
        agent_cwd=AGENT_CWD,
        sandbox=SANDBOX,
        model=session.options.model,
        permissions=session.options.permissions or "workspace",
        close_reason=session.close_reason,
        forked_from=_forked_from(session),
    )


def _session(session: Session) -> dict[str, Any]:
    return {
        "session_id": session.session_id,
        "app_name": session.app_name,
        "agent": session.options.agent,
        "cwd": session.cwd,
        "created_at": session.created_at,
        "last_turn_at": session.last_turn_at(),
        "turn_count": len(session.turns),
        "closed_at": session.closed_at,
        "meta": session.meta,
    }


def turn_answer(session: Session, turn: Turn) -> TurnResult:
    """What a turn that has ended is answered with. Raises Problem where it failed."""
    assert turn.end is not None and turn.ok is not None and turn.duration_ms is not None
    folded = session.folded(turn).result()
    if turn.status == "failed":
        told: dict[str, Any] = {"session_id": session.session_id, "turn_index": turn.index}
        told |= {"stop_reason": turn.end.stop_reason, "usage": turn.usage, **turn.end.extra}
        if session.is_run:
            told["run_id"] = session.session_id
        raise Problem(turn.end.stop_reason, turn.end.detail, events=folded, **told)
    return TurnResult(
        ok=turn.ok,
        session_id=session.session_id,
        turn_index=turn.index,
        events=folded,
        stop_reason=turn.end.stop_reason,
        duration_ms=turn.duration_ms,
        empty=_is_empty(turn, folded),
        usage=turn.usage,
        model=turn.model,
        **_verdict(turn, folded),
    )


def run_answer(session: Session, turn: Turn) -> RunResult:
    """The same of a run."""
    answer = turn_answer(session, turn)
    return RunResult(
        ok=answer.ok,
        result=_result(turn, answer.events),
        duration_ms=answer.duration_ms,
        stop_reason=answer.stop_reason,
        run_id=session.session_id,
        session_id=session.session_id,
        turn_index=turn.index,
        agent=session.options.agent,
        model=turn.model,
        empty=answer.empty,
        usage=turn.usage,
        schema_valid=answer.schema_valid,
        schema_errors=answer.schema_errors,
        schema_repaired=answer.schema_repaired,
    )


def turn_item(turn: Turn) -> TurnItem:
    """A row of the list of turns."""
    return TurnItem(**_turn(turn))


def turn_info(session: Session, turn: Turn) -> TurnInfo:
    """One turn, whole, with its events so far."""
    folded = session.folded(turn).result()
    failed = turn.status == "failed"
    return TurnInfo(
        **_turn(turn),
        session_id=session.session_id,
        events=folded,
        empty=_is_empty(turn, folded),
        extra=dict(turn.end.extra) if turn.end is not None and failed else None,
        **({} if failed or not turn.ended else _verdict(turn, folded)),
    )


def _turn(turn: Turn) -> dict[str, Any]:
    return {
        "turn_index": turn.index,
        "status": turn.status,
        "started_at": turn.started_at,
        "ok": turn.ok,
        "stop_reason": turn.end and turn.end.stop_reason,
        "duration_ms": turn.duration_ms,
        "error": None if (why := _failure(turn)) is None else TurnError(*why),
        "usage": turn.usage,
        "model": turn.model,
    }


def run_item(session: Session) -> RunItem:
    """A row of the list of runs."""
    return RunItem(**_run(session))


def run_info(session: Session) -> RunInfo:
    """One run, whole."""
    turn = session.turns[0]
    folded = session.folded(turn).result()
    done = turn.status == "done"
    return RunInfo(**_run(session), result=_result(turn, folded) if done else None)


def _run(session: Session) -> dict[str, Any]:
    turn = session.turns[0]
    return {
        "run_id": session.session_id,
        "status": turn.status,
        "agent": session.options.agent,
        "model": turn.model or session.options.model,
        "created_at": session.created_at,
        "ok": turn.ok,
        "stop_reason": turn.end and turn.end.stop_reason,
        "duration_ms": turn.duration_ms,
        "error": None if (why := _failure(turn)) is None else RunError(*why),
        "usage": None if turn.usage is None else codec.from_json(Usage, turn.usage),
    }


def _failure(turn: Turn) -> tuple[str, str] | None:
    if turn.end is None or turn.end.stop_reason not in script.FAILURES:
        return None
    return turn.end.stop_reason, turn.end.detail


def _verdict(turn: Turn, folded: list[dict[str, Any]]) -> dict[str, Any]:
    if turn.schema_errors is None:
        return {}
    verdict = {"schema_valid": not turn.schema_errors, "schema_errors": [*turn.schema_errors]}
    if any(each["type"] == events.SCHEMA_REPAIR for each in folded):
        verdict["schema_repaired"] = True
    return {"result": _result(turn, folded), **verdict}


def _result(turn: Turn, folded: list[dict[str, Any]]) -> Any:
    return results.parse(results.final_text(folded), amid_words=turn.schema_errors is not None)


def _is_empty(turn: Turn, folded: list[dict[str, Any]]) -> bool:
    nothing = not any(
        each["type"] == events.TOOL_CALL or (each["type"] == events.TEXT and each["content"]) for each in folded
    )
    return turn.end is not None and turn.end.stop_reason == "end_turn" and nothing
