"""Plays a turn: the steps of its script become events of its session, until it ends. Must not know HTTP."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import closing
from typing import Final

from clawdforge.testing.fake_gateway import deciding, ends, script
from clawdforge.testing.fake_gateway.prompt import Prompt
from clawdforge.testing.fake_gateway.script import Ask, End, Gate, Step, Steps, Told, Write
from clawdforge.testing.fake_gateway.session import AGENT_CWD, Session, Turn
from clawdforge.wire import events
from clawdforge.wire.events import Draft
from clawdforge.wire.permissions import Outcome

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
    turn.begun_s = time.monotonic()
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
            with closing(script.played(self._turn.answerer, prompt)) as steps:
                return self._played(steps)
        except _Stopped:
            raise
        except BaseException as error:  # noqa: BLE001 - pytest's own failures are no Exception
            _log.exception("what answers the prompts of the fake gateway failed")
            detail = f"what answers the prompts of the fake gateway failed: {error!r}"
            return script.fail("agent_failed", detail)

    def _played(self, steps: Steps) -> End:
        heard: Outcome | None = None
        while True:
            try:
                step = steps.send(heard)
            except StopIteration:
                return End("end_turn")
            if isinstance(step, End):
                return step
            with self._session.lock:
                if self._turn.stopped is not None:
                    raise _Stopped(self._turn.stopped)
                heard = self._do(step)

    def _do(self, step: Step) -> Outcome | None:
        """Does one step; returns what the script hears of it. The lock is held. Raises _Stopped."""
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
            case Told():
                self.told = step
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
        old = files.pop(step.path, None)
        if step.content is not None:
            files[step.path] = step.content
        name, kind = ("Delete", "delete") if step.content is None else ("Edit", "edit")
        call = script.tool_call(name, {"file_path": step.path}, kind=kind, title=step.path)
        where = {"path": f"{AGENT_CWD}/{step.path}"}
        diff = {**where, "old_text": _as_text(old), "new_text": _as_text(step.content) or ""}
        self._say(Draft(call.type, {**call.data, "locations": [where], "diffs": [diff]}))

    def _ask(self, step: Ask) -> Outcome:
        session, turn = self._session, self._turn
        call = self._next_tool()
        self._say(script.tool_call(step.kind, id=call, title=step.title, kind=step.kind, status="pending"))
        policy = session.options.permissions or "workspace"
        asked = deciding.ask(session, turn, step, call, waits=policy == "ask")
        if policy != "ask":
            decision = deciding.by_policy(policy, step.kind)
            deciding.answer(session, asked, deciding.option_for(asked, decision), f"policy:{policy}")
        elif not self._wait(lambda: not asked.waits, turn.permission_s):
            deciding.answer(session, asked, deciding.option_for(asked, "reject"), "expiry")
        assert asked.answer is not None
        outcome = asked.answer.decision
        status = "completed" if outcome in ("allow", "allow_always") else "failed"
        self._say(Draft(events.TOOL_CALL_UPDATE, {"id": call, "status": status}))
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
