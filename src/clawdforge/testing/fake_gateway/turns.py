"""Plays a turn: the steps of its script become events of its session, and at last its end.

The one place that ends turns. Must not know HTTP.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from typing import Any, Final, get_args

from clawdforge.testing.fake_gateway import schemas, script
from clawdforge.testing.fake_gateway.script import Ask, End, Gate, Step, Told, Write
from clawdforge.testing.fake_gateway.session import Asked, Session, Turn
from clawdforge.wire import codec, events, results
from clawdforge.wire.events import Draft
from clawdforge.wire.permissions import (
    Decision,
    Outcome,
    PermissionAnswered,
    PermissionItem,
    PermissionOption,
)
from clawdforge.wire.usage import Usage, estimate

_log = logging.getLogger("clawdforge.testing")
CANCELLED: Final = End("cancelled")
_MODEL: Final = "fake"
_AGENT_LOST: Final = ("agent_failed", "timeout", "interrupted")
_READING: Final = frozenset({"read", "search", "think"})
_MAY: Final = {"deny": frozenset(), "reads": _READING, "workspace": _READING | {"edit", "delete", "move"}}
_MEANINGS: Final[dict[str, Decision]] = {
    "allow_once": "allow",
    "allow_always": "allow_always",
    "reject_once": "reject",
    "reject_always": "reject_always",
}
_KINDS_FOR: Final[dict[str, tuple[str, ...]]] = {
    "allow": ("allow_once",),
    "allow_always": ("allow_always", "allow_once"),
    "reject": ("reject_once", "reject_always"),
    "reject_always": ("reject_always", "reject_once"),
}


class _Stopped(Exception):
    """The turn ends now, whatever its script would say."""

    def __init__(self, end: End) -> None:
        super().__init__(end.stop_reason)
        self.end = end


def begin(session: Session, turn: Turn) -> None:
    """The turn begins; the lock is held."""
    turn.status = "running"
    turn.begun_s = turn.heard_s = time.monotonic()
    turn.started_at = int(time.time())
    turn.before = dict(session.workspace)
    files = [each.name for each in turn.prompt.files]
    session.append(Draft(events.TURN_START, {"prompt": turn.prompt.text, "files": files}), turn.index)
    session.wake(turn.index)


def play(session: Session, turn: Turn) -> None:
    """Plays a turn to its end, in a thread of its own; a queued one when those before it have ended."""
    player = _Player(session, turn)
    try:
        if turn.status == "queued":
            player.wait_for_others()
        end = player.played()
    except _Stopped as stopped:
        end = stopped.end
    with session.lock:
        player.settle(end)


def option_for(options: list[PermissionOption], decision: str) -> PermissionOption | None:
    """The option that a decision takes; None where none of its meaning is offered."""
    for kind in _KINDS_FOR[decision]:
        for option in options:
            if option.kind == kind:
                return option
    return None


def answered(permission_id: str, option: PermissionOption | None, by: str) -> PermissionAnswered:
    """What a request came to, by the option that was taken; None: by none."""
    decision: Outcome = "cancelled" if option is None else _MEANINGS.get(option.kind, "other")
    return PermissionAnswered(True, permission_id, decision, None if option is None else option.option_id, by)


class _Player:
    def __init__(self, session: Session, turn: Turn) -> None:
        self._session = session
        self._turn = turn
        self._told = Told()
        self._tools = 0

    def wait_for_others(self) -> None:
        """Returns once the turn's time has come. Raises _Stopped."""
        session, turn = self._session, self._turn
        with session.lock:
            ahead = session.turns[: turn.index - 1]
            session.wait(lambda: turn.stopped is not None or all(each.ended for each in ahead))
            if turn.stopped is not None:
                raise _Stopped(turn.stopped)
            begin(session, turn)

    def played(self) -> End:
        """The end that the script comes to. Raises _Stopped."""
        try:
            steps = script.played(self._turn.answerer(self._turn.prompt))
            heard: Any = None
            while True:
                try:
                    step = steps.send(heard)
                except StopIteration:
                    return End("end_turn")
                if isinstance(step, End):
                    return step
                heard = self._do(step)
        except _Stopped:
            raise
        except BaseException as error:  # noqa: BLE001 - pytest's own failures are no Exception
            _log.exception("what answers the prompts of the fake gateway failed")
            detail = f"what answers the prompts of the fake gateway failed: {error!r}"
            return script.fail("agent_failed", detail)

    def settle(self, end: End) -> None:
        """The turn has ended; the lock is held."""
        session, turn = self._session, self._turn
        turn.schema_errors = self._told.schema_errors
        begun = turn.status == "running"
        turn.duration_ms = round((time.monotonic() - turn.begun_s) * 1000) if begun else 0
        for each in session.asked.values():
            if each.waits:
                self._answer(each, None, "cancel")
        fold = session.folded(turn)
        empty = not fold.text() and not fold.tool_calls
        turn.ok = end.stop_reason in ("max_tokens", "max_turn_requests") or (
            end.stop_reason == "end_turn" and not empty
        )
        turn.usage = codec.to_json(self._usage(len(fold.text().encode())))
        turn.model = session.options.model or (self._told.model or _MODEL if begun else None)
        turn.status = "failed" if end.stop_reason in script.FAILURES else "done"
        turn.after = dict(session.workspace)
        if turn.prompt.schema is not None and turn.schema_errors is None:
            said = results.parse(results.final_text(fold.result()))
            turn.schema_errors = tuple(schemas.errors(turn.prompt.schema, said))
        if end.stop_reason in script.FAILURES:
            why = {"code": end.stop_reason, "detail": end.detail}
            limit = {"limit": end.extra["limit"]} if "limit" in end.extra else {}
            session.append(Draft(events.ERROR, {**why, **limit}), turn.index)
        how = {"stop_reason": end.stop_reason, "ok": turn.ok, "duration_ms": turn.duration_ms}
        session.awake = session.awake and end.stop_reason not in _AGENT_LOST
        turn.end = end
        session.append(Draft(events.TURN_END, {**how, "usage": turn.usage}), turn.index)
        if session.is_run:
            session.close("run")

    def _do(self, step: Step) -> Any:
        """Does one step of the script; returns what the script hears of it. Raises _Stopped."""
        session, turn = self._session, self._turn
        with session.lock:
            if turn.stopped is not None:
                raise _Stopped(turn.stopped)
            turn.heard_s = time.monotonic()
            match step:
                case Draft():
                    self._say(step)
                case Write():
                    self._write(step)
                case Ask():
                    return self._ask(step)
                case Gate():
                    step.come()
                    self._wait(lambda: step.is_open)
                    turn.heard_s = time.monotonic()
                case Told():
                    self._told = step
                case End():
                    raise _Stopped(step)
        return None

    def _say(self, draft: Draft) -> None:
        if draft.type == events.TOOL_CALL and draft.data.get("id") is None:
            draft = Draft(draft.type, {**draft.data, "id": self._next_tool()})
        elif draft.type in events.STREAMED:
            draft = Draft(draft.type, {**draft.data, "message_id": f"msg_{self._turn.index}"})
        self._session.append(draft, self._turn.index)

    def _next_tool(self) -> str:
        self._tools += 1
        return f"call_{self._turn.index}_{self._tools}"

    def _write(self, step: Write) -> None:
        files = self._session.workspace
        old = files.get(step.path)
        if step.content is None:
            files.pop(step.path, None)
        else:
            files[step.path] = step.content
        told = script.tool_call("Edit" if step.content is not None else "Delete", {"file_path": step.path})
        told = Draft(told.type, {**told.data, "kind": "delete" if step.content is None else "edit"})
        where = {"path": f"/workspace/{step.path}"}
        diff = {**where, "old_text": _as_text(old), "new_text": _as_text(step.content) or ""}
        self._say(Draft(told.type, {**told.data, "title": step.path, "locations": [where], "diffs": [diff]}))

    def _ask(self, step: Ask) -> Outcome:
        session, turn = self._session, self._turn
        call = self._next_tool()
        options = [PermissionOption(kind, kind.replace("_", " "), kind) for kind in step.options]
        wait_s = turn.permission_s
        policy = session.options.permissions or "workspace"
        expires_at = time.time_ns() // 1_000_000 + round(wait_s * 1000) if policy == "ask" else None
        permission_id = "perm_" + secrets.token_hex(16)
        item = PermissionItem(permission_id, call, step.title, step.kind, options, expires_at or 0)
        asked = session.asked[permission_id] = Asked(item, turn.index)
        told = {"title": step.title, "kind": step.kind, "status": "pending"}
        call_event = script.tool_call(step.kind, id=call, **told)
        session.append(call_event, turn.index)
        request = {name: value for name, value in codec.to_json(item).items() if name != "options"}
        shown = [codec.to_json(each) for each in options]
        session.append(
            Draft(events.PERMISSION_REQUEST, {**request, "options": shown, "expires_at": expires_at}), turn.index
        )
        if policy != "ask":
            allowed = policy == "allow" or step.kind in _MAY[policy]
            self._answer(asked, option_for(options, "allow" if allowed else "reject"), f"policy:{policy}")
        elif not self._wait(lambda: asked.answer is not None, wait_s):
            self._answer(asked, option_for(options, "reject"), "expiry")
        assert asked.answer is not None
        decision = asked.answer.decision
        status = "completed" if decision in ("allow", "allow_always") else "failed"
        session.append(Draft(events.TOOL_CALL_UPDATE, {"id": call, "status": status}), turn.index)
        return decision

    def _answer(self, asked: Asked, option: PermissionOption | None, by: str) -> None:
        answer_permission(self._session, asked, answered(asked.item.permission_id, option, by))

    def _wait(self, condition: Callable[[], bool], patience_s: float | None = None) -> bool:
        """Lets go of the lock until something holds. Raises _Stopped where the turn's end comes first.

        With `patience_s` it waits no longer, and the agent's idleness does not count. Returns whether it holds.
        """
        session, turn = self._session, self._turn
        until = {"idle" if patience_s is None else "": time.monotonic() + (patience_s or turn.idle_s)}
        if turn.total_s is not None:
            until["total"] = turn.begun_s + turn.total_s
        phase = min(until, key=lambda each: until[each])
        left_s = max(0.0, until[phase] - time.monotonic())
        session.wait(lambda: condition() or turn.stopped is not None, left_s)
        if turn.stopped is not None:
            raise _Stopped(turn.stopped)
        if condition():
            return True
        if phase:
            raise _Stopped(script.fail("timeout", f"the turn was ended by its {phase} deadline", phase=phase))
        return False

    def _usage(self, answer_bytes: int) -> Usage:
        if self._told.usage is not None:
            return Usage(**{"source": "agent", **self._told.usage})
        return estimate(len(self._turn.prompt.text.encode()), answer_bytes)


def answer_permission(session: Session, asked: Asked, answer: PermissionAnswered) -> None:
    """A permission request has its answer; the lock is held."""
    asked.answer = answer
    told = {name: value for name, value in codec.to_json(answer).items() if name != "ok"}
    session.append(Draft(events.PERMISSION_ANSWER, told), asked.turn_index)


def _as_text(content: bytes | None) -> str | None:
    return None if content is None else content.decode(errors="replace")


assert set(_KINDS_FOR) == set(get_args(Decision))
