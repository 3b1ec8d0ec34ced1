"""The ACP side: initialize, sessions and their settings, the queue of prompts, answers to our own requests.

What happens inside a turn is the business of `turn` and the verbs. One thread: a verb that waits takes messages
meanwhile, so a cancel is seen at once, and a prompt that comes during a turn is queued behind it.
"""

from __future__ import annotations

import json
import os
import sys
import time

from . import asks, endings, leaks, lost, noise, processes, speech, start
from .memory import Conversation
from .pipe import Pipe
from .session import INVALID_PARAMS, NO_RESOURCE, UNKNOWN_METHOD, RpcError, Session
from .turn import Turn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Message = dict[str, Any]

VERSION = "1.0.0"
CAPABILITIES: Message = {
    "loadSession": False,
    "promptCapabilities": {"image": False, "audio": False, "embeddedContext": True},
    "sessionCapabilities": {"close": {}},
}
LIFETIME_S = 300.0
VERBS = {
    **speech.VERBS,
    **leaks.VERBS,
    **asks.VERBS,
    **endings.VERBS,
    **noise.VERBS,
    **processes.VERBS,
    **lost.VERBS,
}


class InputEnded(Exception):
    """The client closed our stdin while we waited for more of it."""


class Agent:
    """Everything this process knows."""

    def __init__(self, pipe: Pipe, fault: start.Fault) -> None:
        self.pipe = pipe
        self.client: Message = {}
        self.sessions: dict[str, Session] = {}
        self.answers: dict[int | str, Message] = {}
        self.last_answer: Message = {}
        self.ignores_cancel = False
        self.last_words: Callable[[], None] = lambda: None
        self.ignores_eof: bool = fault.name == "ignore-eof"
        self._fault = fault
        self._prompts: list[Message] = []
        self._next_id = 0
        self._after_answer: Callable[[], None] = lambda: None
        self._methods: dict[str, Callable[[Message], Message]] = {
            "initialize": self._initialize,
            "authenticate": lambda _: {},
            "session/new": self._new,
            "session/set_mode": self._set_mode,
            "session/set_model": self._set_model,
            "session/set_config_option": self._set_config_option,
            "session/close": self._close,
        }
        self.script: dict[str, str] = json.loads(os.environ.get("FAKE_AGENT_SCRIPT") or "{}")
        self.capabilities: Message = merged(CAPABILITIES, json.loads(os.environ.get("FAKE_AGENT_CAPS") or "{}"))
        if fault.name != "no-recall":
            self._methods.update(self._recalls())

    def serve(self) -> None:
        """Answer until stdin ends, which raises InputEnded."""
        while True:
            self.wait_for(lambda: bool(self._prompts))
            message = self._prompts.pop(0)
            turn = Turn(self, message.get("params") or {}, VERBS)
            self._answer(message.get("id"), turn.run)
            turn.finish()

    def _recalls(self) -> dict[str, Callable[[Message], Message]]:
        """The ways to go on with a conversation that it advertises."""
        of_sessions = self.capabilities["sessionCapabilities"]
        found: dict[str, Callable[[Message], Message]] = {}
        if self.capabilities["loadSession"]:
            found["session/load"] = self._load
        if "resume" in of_sessions:
            found["session/resume"] = self._recall
        if "fork" in of_sessions:
            found["session/fork"] = self._fork
        return found

    def wait_for(self, done: Callable[[], bool], timeout_s: float | None = None) -> bool:
        """Take messages until `done()`; False if `timeout_s` goes by first, InputEnded if stdin ends first."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not done():
            left_s = None if deadline is None else deadline - time.monotonic()
            if left_s is not None and left_s <= 0:
                return False
            self.take(left_s)
            if self.pipe.ended and not done():
                raise InputEnded
        return True

    def take(self, timeout_s: float | None) -> None:
        """Handle what has come in, waiting at most `timeout_s` for it."""
        for message in self.pipe.read(timeout_s):
            if not isinstance(message, dict):
                self.pipe.send({"id": None, "error": {"code": -32600, "message": "not a message"}})
            elif "method" in message:
                self._called(message)
            else:
                self.answers[message.get("id", "")] = message

    def call(self, method: str, params: Any, request_id: int | str | None = None) -> int | str:
        """Send a request and give its id; its answer will turn up in `answers`."""
        if request_id is None:
            request_id, self._next_id = self._next_id, self._next_id + 1
        self.pipe.send({"id": request_id, "method": method, "params": params})
        return request_id

    def ask(self, method: str, params: Any) -> Message:
        """Send a request and wait for its answer, which is the whole message."""
        return self.ask_all([(method, params)])[0]

    def ask_all(self, calls: list[tuple[str, Any]]) -> list[Message]:
        """Send these requests, then wait for all their answers."""
        ids = [self.call(method, params) for method, params in calls]
        self.wait_for(lambda: all(one in self.answers for one in ids))
        return [self.answers.pop(one) for one in ids]

    def session(self, params: Message) -> Session:
        session = self.sessions.get(params.get("sessionId", ""))
        if session is None:
            raise RpcError(INVALID_PARAMS, "Session not found")
        return session

    def _called(self, message: Message) -> None:
        method, params = message["method"], message.get("params") or {}
        if method == "session/cancel":
            self._cancel(params)
        elif method == "session/prompt":
            self._prompts.append(message)
        elif "id" in message:
            self._answer(message["id"], lambda: self._dispatch(method, params))

    def _dispatch(self, method: str, params: Message) -> Message | None:
        if method not in self._methods:
            raise RpcError(UNKNOWN_METHOD, f"Method not found: {method}")
        return None if self._fault.hangs(method) else self._methods[method](params)

    def _answer(self, request_id: Any, work: Callable[[], Any]) -> None:
        """Answer a request with the outcome of `work`; leave it unanswered when that is None."""
        try:
            outcome = {"result": work()}
        except RpcError as error:
            outcome = {"error": {"code": error.code, "message": str(error)}}
        if outcome != {"result": None}:
            self.last_answer = {"id": request_id, **outcome}
            self.pipe.send(self.last_answer)
        after, self._after_answer = self._after_answer, lambda: None
        after()

    def _initialize(self, params: Message) -> Message:
        self.client = params
        return {
            "protocolVersion": self._fault.protocol_version,
            "agentInfo": {"name": "fake_agent", "title": "Fake Agent", "version": VERSION},
            "agentCapabilities": self.capabilities,
            "authMethods": [],
        }

    def _new(self, params: Message) -> Message:
        session_id = f"fake-{os.urandom(8).hex()}"
        if self._fault.name == "odd-session-id":
            session_id += "\0\ud800/../*'" + "x" * 1_000_000
        answer = self._open(session_id, params).described()
        if self._fault.name == "no-session-id":
            del answer["sessionId"]
        return answer

    def _open(self, session_id: str, params: Message) -> Session:
        cwd = params.get("cwd")
        if not (isinstance(cwd, str) and cwd.startswith("/") and isinstance(params.get("mcpServers"), list)):
            raise RpcError(INVALID_PARAMS, "session/new needs an absolute cwd and mcpServers")
        more_models = [name for name in os.environ.get("FAKE_AGENT_MODELS", "").split(",") if name]
        model_by = os.environ.get("FAKE_AGENT_MODEL_BY", "config")
        session = self.sessions[session_id] = Session(session_id, params, more_models, model_by)
        if self._recalls() and self._fault.name != "odd-session-id":
            session.conversation = Conversation(session_id)
        return session

    def _recall(self, params: Message) -> Message:
        """`session/resume`: as if the process had never ended, but for the settings."""
        session = self._open(params.get("sessionId", ""), params)
        if self._fault.name == "ghost-recall":
            del self.sessions[session.id]
            return {}
        if session.conversation is None or not session.conversation.read():
            if self._fault.name != "empty-load":
                del self.sessions[session.id]
                raise RpcError(NO_RESOURCE, f"Resource not found: {session.id}")
        else:
            session.turn_count = len(session.conversation.prompts)
        answer = session.described()
        del answer["sessionId"]
        return answer

    def _load(self, params: Message) -> Message:
        """`session/load`: the same, and tells again what was said; gemini does that after its answer."""
        answer = self._recall(params)
        session = self.session(params)

        def tell() -> None:
            for update in session.conversation.updates if session.conversation else ():
                self.pipe.send({"method": "session/update", "params": {"sessionId": session.id, "update": update}})

        if self._fault.name == "late-history":
            self._after_answer = tell
        else:
            tell()
        return answer

    def _fork(self, params: Message) -> Message:
        """`session/fork`: a new session that knows what was said in the other one."""
        self._recall(params)
        other = self.sessions.pop(params["sessionId"])
        forked = self._open(f"fake-{os.urandom(8).hex()}", params)
        if forked.conversation and other.conversation:
            forked.conversation.take_over(other.conversation)
            forked.turn_count = other.turn_count
        return forked.described()

    def _set_mode(self, params: Message) -> Message:
        self.session(params).set_mode(params.get("modeId"))
        return {}

    def _set_model(self, params: Message) -> Message:
        self.session(params).set_model(params.get("modelId"))
        return {}

    def _set_config_option(self, params: Message) -> Message:
        session = self.session(params)
        session.set_config_option(params.get("configId"), params.get("value"))
        return {"configOptions": session.config_options()}

    def _close(self, params: Message) -> Message:
        del self.sessions[self.session(params).id]
        return {}

    def _cancel(self, params: Message) -> None:
        session = self.sessions.get(params.get("sessionId", ""))
        if session is None or self.ignores_cancel:
            return
        session.cancelled = True
        for prompt in [one for one in self._prompts if one["params"].get("sessionId") == session.id]:
            self._prompts.remove(prompt)
            self._answer(prompt.get("id"), lambda: {"stopReason": "cancelled"})


def merged(base: Message, more: Message) -> Message:
    """`base` with `more` laid over it, object into object."""
    both = {**base}
    for key, value in more.items():
        old = base.get(key)
        both[key] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return both


def main(arguments: list[str]) -> None:
    """Run the agent; this does not return."""
    if "--help" in arguments:
        sys.stdout.write(f"{sys.modules[__package__ or ''].__doc__}")
        sys.exit()
    chosen = os.environ.get("FAKE_AGENT_START", "")
    if "--start-fault" in arguments:
        chosen = " ".join(arguments[arguments.index("--start-fault") + 1 :][:1])
    pipe = Pipe(os.environ.get("FAKE_AGENT_LOG"))
    pipe.log(b'"argv":' + json.dumps(sys.argv).encode())
    fault = start.Fault(chosen)
    agent = Agent(pipe, fault)
    try:
        fault.begin()
        agent.serve()
    except InputEnded:
        agent.last_words()
        if agent.ignores_eof:
            time.sleep(LIFETIME_S)
    except BrokenPipeError:
        sys.exit(1)
