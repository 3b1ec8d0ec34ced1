"""Plays a turn: the steps of its script become events of its session, until it ends. Must not know HTTP."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from typing import Any, Final

from clawdforge.testing.fake_gateway import deciding, ends, script
from clawdforge.testing.fake_gateway.prompt import Prompt
from clawdforge.testing.fake_gateway.script import Ask, End, Gate, Step, Told, Write
from clawdforge.testing.fake_gateway.session import Asked, Session, Turn
from clawdforge.wire import codec, events
from clawdforge.wire.events import Draft
from clawdforge.wire.permissions import Outcome, PermissionItem, PermissionOption

_log = logging.getLogger("clawdforge.testing")
CANCELLED: Final = End("cancelled")


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
        end = player.answered(turn.prompt)
        with session.lock:
            again = ends.repair(session, turn, end, player.told)
        if again is not None:
            end = player.answered(again)
    except _Stopped as stopped:
        end = stopped.end
    with session.lock:
        ends.settle(session, turn, end, player.told)


class _Player:
    def __init__(self, session: Session, turn: Turn) -> None:
        self._session = session
        self._turn = turn
        self.told = Told()
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

    def answered(self, prompt: Prompt) -> End:
        """The end to which the script comes of this prompt. Raises _Stopped."""
        self.told = Told()
        try:
            steps = script.played(self._turn.answerer(prompt))
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
                    self.told = step
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
            decision = deciding.by_policy(policy, step.kind)
            deciding.answer(session, asked, deciding.option_for(asked, decision), f"policy:{policy}")
        elif not self._wait(lambda: asked.answer is not None, wait_s):
            deciding.answer(session, asked, deciding.option_for(asked, "reject"), "expiry")
        assert asked.answer is not None
        outcome = asked.answer.decision
        status = "completed" if outcome in ("allow", "allow_always") else "failed"
        session.append(Draft(events.TOOL_CALL_UPDATE, {"id": call, "status": status}), turn.index)
        return outcome

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


def _as_text(content: bytes | None) -> str | None:
    return None if content is None else content.decode(errors="replace")
