"""One prompt turn: finds the directives, runs them in order, and offers the verbs what they need.

A verb is a function of the turn and its argument; it speaks through the turn and returns nothing.
"""

from __future__ import annotations

import os
import re
import time

from .session import CANCELLED, INVALID_PARAMS, RpcError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Protocol

    from .pipe import Pipe
    from .session import Session

    Message = dict[str, Any]
    Verb = Callable[["Turn", str], None]

    class Agent(Protocol):
        """What a turn needs of its agent."""

        pipe: Pipe
        script: dict[str, str]
        last_answer: Message

        client: Message
        answers: dict[int | str, Message]
        ignores_cancel: bool
        last_words: Callable[[], None]
        ignores_eof: bool

        def session(self, params: Message) -> Session: ...
        def call(self, method: str, params: Any, request_id: int | str | None = None) -> int | str: ...
        def ask(self, method: str, params: Any) -> Message: ...
        def ask_all(self, calls: list[tuple[str, Any]]) -> list[Message]: ...
        def take(self, timeout_s: float | None) -> None: ...
        def wait_for(self, done: Callable[[], bool], timeout_s: float | None = None) -> bool: ...


HANDED_OVER = "<conversation-so-far>"
DIRECTIVE = re.compile(r"\[\[([A-Z][A-Z0-9_]*)(?:\s(.*?))?\]\](?!\])", re.DOTALL)


class Cancelled(Exception):
    """The client cancelled this turn."""


class Turn:
    """A turn under way. `result` is what will answer the prompt."""

    agent: Agent
    session: Session
    params: Message
    result: Any

    def __init__(self, agent: Agent, params: Message, verbs: Mapping[str, Verb]) -> None:
        self.agent = agent
        self.params = params
        self.verbs = verbs
        self.result = {"stopReason": "end_turn"}
        self.usage: Message = {}
        self.option_kinds: list[str] = ["allow_always", "allow_once", "reject_once"]
        self.fails_when_cancelled = False
        self.answers_twice = False
        self.late_texts: list[str] = []
        self.deaf_s: float = 0.0
        self._message_kind = ""
        self._message_count = 0
        self._tool_count = 0

    def run(self) -> Any:
        """Carry out the prompt and give the answer to it.

        Raises:
            RpcError: the answer is an error.
        """
        self.session = self.agent.session(self.params)
        self.session.cancelled = False
        self.session.turn_count += 1
        text = self.prompt_text()
        self._keep({"sessionUpdate": "user_message_chunk", "content": {"type": "text", "text": text}})
        directives = DIRECTIVE.findall(self._scripted(text))
        if not directives:
            directives, self.session.then = self.session.then, []
        if not directives:
            self.say(f"turn {self.session.turn_count}: ")
            self.say(text)
        try:
            for verb, argument in directives:
                self._do(verb, argument)
                self.check_cancelled()
        except Cancelled:
            if self.fails_when_cancelled:
                raise RpcError(CANCELLED, "Request cancelled") from None
            return {"stopReason": "cancelled", **self.usage}
        return self.result

    def _scripted(self, text: str) -> str:
        """What FAKE_AGENT_SCRIPT has in place of this prompt, else the prompt."""
        return next((directives for words, directives in self.agent.script.items() if words in text), text)

    def _do(self, verb: str, argument: str) -> None:
        if verb not in self.verbs:
            raise RpcError(INVALID_PARAMS, f"no such directive: {verb}")
        try:
            self.verbs[verb](self, argument)
        except ValueError as error:
            raise RpcError(INVALID_PARAMS, f"bad argument of {verb}: {error}") from error

    def finish(self) -> None:
        """What comes after the answer."""
        if self.answers_twice:
            self.agent.pipe.send(self.agent.last_answer)
        for text in self.late_texts:
            self.say(text)
        time.sleep(self.deaf_s)

    def prompt_text(self) -> str:
        """What is asked: without the conversation that was handed over ahead of it."""
        return "\n".join(text for text in self.texts() if not text.startswith(HANDED_OVER))

    def texts(self) -> list[str]:
        blocks = self.params.get("prompt") or []
        return [block["text"] for block in blocks if block.get("type") == "text"]

    def path(self, name: str) -> str:
        """An absolute path; a relative one starts at the session's cwd."""
        return os.path.join(self.session.cwd, name)  # noqa: PTH118

    def update(self, kind: str, /, **fields: Any) -> None:
        """Send one session/update."""
        if kind != self._message_kind:
            self._message_kind = kind
            self._message_count += 1
        update = {"sessionUpdate": kind, **fields}
        self._keep(update)
        params = {"sessionId": self.session.id, "update": update}
        self.agent.pipe.send({"method": "session/update", "params": params})

    def _keep(self, update: Message) -> None:
        if self.session.conversation is not None:
            self.session.conversation.add(update)

    def say(self, text: str) -> None:
        self._chunk("agent_message_chunk", text)

    def think(self, text: str) -> None:
        self._chunk("agent_thought_chunk", text)

    def _chunk(self, kind: str, text: str) -> None:
        changed = kind != self._message_kind
        message_id = f"msg-{self.session.turn_count}-{self._message_count + changed}"
        self.update(kind, content={"type": "text", "text": text}, messageId=message_id)

    def tool_call(self, name: str, kind: str, raw_input: Any, **fields: Any) -> Message:
        """Announce a tool call as pending; gives it as a permission request quotes it."""
        self._tool_count += 1
        call = {
            "toolCallId": f"call-{self.session.turn_count}-{self._tool_count}",
            "title": name,
            "kind": kind,
            "status": "pending",
            "rawInput": raw_input,
            **fields,
        }
        self.update("tool_call", **call, _meta={"claudeCode": {"toolName": name}})
        return call

    def tool_done(self, call: Message, status: str, raw_output: Any) -> None:
        self.update("tool_call_update", toolCallId=call["toolCallId"], status=status, rawOutput=raw_output)

    def permission_params(self, call: Message) -> Message:
        """What a permission request says."""
        options = [
            {"optionId": f"option-{number}", "name": kind.replace("_", " ").title(), "kind": kind}
            for number, kind in enumerate(self.option_kinds)
        ]
        return {"sessionId": self.session.id, "toolCall": call, "options": options}

    def permission(self, call: Message) -> Message:
        """Ask for permission whatever the mode. Gives the outcome, or the error, as it came."""
        answer = self.agent.ask("session/request_permission", self.permission_params(call))
        outcome: Message = (answer.get("result") or {}).get("outcome") or {"error": answer.get("error")}
        return outcome

    def allows(self, outcome: Message) -> bool:
        chosen = outcome.get("optionId", "")
        return chosen in [f"option-{n}" for n, kind in enumerate(self.option_kinds) if kind.startswith("allow")]

    def may_run(self, call: Message) -> bool:
        """Whether a tool may run in this mode; a refusal is told on the call, a cancel ends the turn."""
        if self.session.settings["mode"] == "auto":
            return True
        outcome = self.permission(call)
        if self.allows(outcome):
            return True
        self.tool_done(call, "failed", f"permission denied: {outcome.get('outcome', 'error')}")
        if outcome.get("outcome") == "cancelled":
            raise Cancelled
        return False

    def pause(self, seconds: float | None) -> None:
        """Wait that long (None: for ever), taking messages; a cancel ends the turn."""
        self.agent.wait_for(lambda: self.session.cancelled, seconds)
        self.check_cancelled()

    def check_cancelled(self) -> None:
        """See what has come in, without waiting; a cancel ends the turn."""
        self.agent.take(0)
        if self.session.cancelled:
            raise Cancelled
