"""The ACP side: sessions, prompts and their cancelling. Must not know how a model generates text.

One thread reads the client's messages, so that a cancel is heard at any time; each prompt is answered in a thread
of its own, and the model answers one at a time.
"""

from __future__ import annotations

import os
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from clawdforge.local_agent.content import prompt_text, system_prompt
from clawdforge.local_agent.conversation import Conversation
from clawdforge.local_agent.model import Model, ModelFailed, Reply, RequestRefused
from clawdforge.local_agent.protocol import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    Peer,
    RpcError,
)

Params = Mapping[str, Any]

VERSION: Final = "1.0.0"
PROTOCOL_VERSION: Final = 1
# A schema per prompt is our own extension, so it is told where ACP wants extensions told: in `_meta`.
_EXTENSIONS: Final[Params] = {"clawdforge": {"schema": True}}
_QUOTED_CHARS: Final = 200


@dataclass(slots=True)
class Turn:
    """A prompt that is being answered."""

    request_id: Any
    prompt: str
    schema: Params | None
    message_id: str = field(default_factory=lambda: f"msg_{os.urandom(12).hex()}")
    cancelled: bool = False


@dataclass(slots=True)
class Session:
    """A conversation, and the turn that runs in it, if one does."""

    conversation: Conversation
    session_id: str = field(default_factory=lambda: os.urandom(16).hex())
    turn: Turn | None = None


class Agent:
    """Answers one client, from a model that is loaded."""

    def __init__(self, peer: Peer, model: Model) -> None:
        self._peer = peer
        self._model = model
        self._model_in_use = False
        self._model_freed = threading.Condition()
        self._sessions: dict[str, Session] = {}
        self._methods: dict[str, Callable[[Params], Params]] = {
            "initialize": self._initialize,
            "session/new": self._new,
            "session/close": self._close,
        }

    def serve(self) -> None:
        """Takes messages until the client closes its side; a turn under way is left to its thread."""
        for message in self._peer.messages():
            method, params = message.get("method"), message.get("params", {})
            if "id" in message and isinstance(method, str):
                self._request(message["id"], method, params)
            elif method == "session/cancel" and isinstance(params, dict):
                self._cancel(self._sessions.get(str(params.get("sessionId"))))

    def _request(self, request_id: Any, method: str, params: Any) -> None:
        try:
            if not isinstance(params, dict):
                raise RpcError(INVALID_PARAMS, "params must be an object")
            if method == "session/prompt":
                self._prompt(request_id, params)
            elif method in self._methods:
                self._peer.answer(request_id, self._methods[method](params))
            else:
                raise RpcError(METHOD_NOT_FOUND, f"this agent has no method {method[:_QUOTED_CHARS]!r}")
        except RpcError as error:
            self._peer.answer(request_id, error)

    def _initialize(self, _: Params) -> Params:
        return {
            "protocolVersion": PROTOCOL_VERSION,
            "agentInfo": {"name": "clawdforge-local", "title": "Local model", "version": VERSION},
            "agentCapabilities": {
                "loadSession": False,
                "promptCapabilities": {"image": False, "audio": False, "embeddedContext": True},
                "sessionCapabilities": {"close": {}},
                "_meta": _EXTENSIONS,
            },
            "authMethods": [],
            "_meta": _EXTENSIONS,
        }

    def _new(self, params: Params) -> Params:
        session = Session(Conversation(system_prompt(params.get("_meta"))))
        self._sessions[session.session_id] = session
        return {"sessionId": session.session_id}

    def _close(self, params: Params) -> Params:
        session = self._session(params)
        del self._sessions[session.session_id]
        self._cancel(session)
        return {}

    def _cancel(self, session: Session | None) -> None:
        """Has the turn that runs in a session end soon, with an answer of its own; does nothing if none runs."""
        turn = session.turn if session is not None else None
        if turn is not None:
            with self._model_freed:
                turn.cancelled = True
                self._model_freed.notify_all()

    def _prompt(self, request_id: Any, params: Params) -> None:
        """Starts to answer a prompt."""
        session = self._session(params)
        if session.turn is not None:
            raise RpcError(INVALID_REQUEST, "a prompt is being answered in this session: one at a time")
        turn = Turn(request_id, prompt_text(params.get("prompt")), _schema(params))
        session.turn = turn
        threading.Thread(target=self._run, args=(session, turn), daemon=True).start()

    def _run(self, session: Session, turn: Turn) -> None:
        """Answers a prompt, whatever happens."""
        outcome: Params | RpcError
        try:
            outcome = _result(self._reply(session, turn), turn.cancelled)
        except RequestRefused as error:
            outcome = RpcError(INVALID_PARAMS, f"the model does not take this: {str(error)[:_QUOTED_CHARS]}")
        except ModelFailed as error:
            outcome = RpcError(INTERNAL_ERROR, f"the model failed: {str(error)[:_QUOTED_CHARS]}")
        except Exception as error:  # noqa: BLE001 - a client must not wait for ever because of a mistake of ours
            traceback.print_exc()
            outcome = RpcError(INTERNAL_ERROR, f"the agent failed: {type(error).__name__}")
        session.turn = None  # before the answer, after which the client may prompt again
        self._peer.answer(turn.request_id, outcome)

    def _reply(self, session: Session, turn: Turn) -> Reply:
        """Waits for the model, and has the conversation go on; a cancel ends either."""

        def say(text: str) -> None:
            update = {
                "sessionUpdate": "agent_message_chunk",
                "messageId": turn.message_id,
                "content": {"type": "text", "text": text},
            }
            self._peer.notify("session/update", {"sessionId": session.session_id, "update": update})

        def cancelled() -> bool:
            return turn.cancelled or self._peer.gone

        with self._model_freed:
            self._model_freed.wait_for(lambda: turn.cancelled or not self._model_in_use)
            if turn.cancelled:
                return Reply("cancelled", None)
            self._model_in_use = True
        try:
            return session.conversation.ask(self._model, turn.prompt, turn.schema, say, cancelled)
        finally:
            with self._model_freed:
                self._model_in_use = False
                self._model_freed.notify_all()

    def _session(self, params: Params) -> Session:
        session = self._sessions.get(str(params.get("sessionId")))
        if session is None:
            raise RpcError(INVALID_PARAMS, "there is no such session")
        return session


def _schema(params: Params) -> Params | None:
    """The JSON Schema that the `_meta` of a prompt carries."""
    match params.get("_meta"):
        case {"clawdforge": {"schema": dict(schema)}}:
            return schema
        case {"clawdforge": {"schema": schema}} if schema is not None:
            raise RpcError(INVALID_PARAMS, "the schema must be a JSON object")
    return None


def _result(reply: Reply, cancelled: bool) -> Params:
    """The result of `session/prompt`: ACP wants a cancelled one to say so, however far its answer had come."""
    result: dict[str, Any] = {"stopReason": "cancelled" if cancelled else reply.stop_reason}
    if (usage := reply.usage) is not None:
        result["usage"] = {
            "inputTokens": usage.input_tokens,
            "outputTokens": usage.output_tokens,
            "totalTokens": usage.input_tokens + usage.output_tokens,
        }
    return result
