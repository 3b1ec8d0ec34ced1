"""How an agent goes on with a conversation that it keeps in its home: by ACP's resume, load or fork.

Only what it advertises is asked for, and nothing of that is trusted: it may have no such method, know the
conversation no more, or load an empty one without a word. What it tells again of what was said is no news.
Source: https://agentclientprotocol.com/protocol/session-setup
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

from clawdforge.server.agents import rpc
from clawdforge.server.agents.base import Memory

Call = Callable[[str, dict[str, Any]], Awaitable[Any]]
_ID_LIMIT_CHARS: Final = 1_000
_BARRIER: Final = "_clawdforge/told"
"""A request that no agent knows: ACP leaves names with an underscore to whoever wants one."""
_BARRIER_S: Final = 2.0
_NO_SUCH_SESSION: Final = frozenset({-32002, rpc.METHOD_NOT_FOUND, rpc.INVALID_PARAMS})
_SAID_AGAIN: Final = frozenset(
    {
        "user_message_chunk",
        "agent_message_chunk",
        "agent_thought_chunk",
        "tool_call",
        "tool_call_update",
        "plan",
    }
)
_COUNTED_AGAIN: Final = "usage_update"
"""Also told of a session in which nothing was said."""


class Recall:
    """One start of an agent, and the conversation that it shall go on with, if any.

    Args:
        memory: what it shall go on with.
        limit_s: how long it may take over that: enough must be left to start it without.

    Attributes:
        pending: the agent is about to recall it: one that hangs or ends meanwhile would do so again the next time.
    """

    def __init__(self, memory: Memory | None, limit_s: float) -> None:
        self.pending: bool = False
        self._memory = memory
        self._limit_s = limit_s
        self._told_again = 0
        self._over = True
        self._doubted = False
        self._lost = False

    async def session(
        self, call: Call, initialized: Mapping[str, Any], params: dict[str, Any]
    ) -> tuple[str, Mapping[str, Any]] | None:
        """Has the agent recall the conversation.

        Args:
            call: asks the agent.
            initialized: its answer to `initialize`.
            params: of `session/new`, which these methods take too.

        Returns:
            The agent's id of the conversation, and its answer; None where it does not remember.

        Raises:
            rpc.Gone: there will be no answer.
            TimeoutError: there was none in time.
        """
        if self._memory is None:
            return None
        self.pending, self._over = True, False
        asked = {"sessionId": self._memory.agent_session_id, **params}
        async with asyncio.timeout(self._limit_s):
            for method in _methods(self._memory, initialized):
                with suppress(rpc.RpcError):
                    answer = _object(await call(method, asked))
                    known = await self._all_told(call) if method == "session/load" else True
                    session_id = (answer if method == "session/fork" else asked).get("sessionId")
                    if known and isinstance(session_id, str):
                        self.pending, self._doubted = False, True
                        return session_id, answer
        self.pending = False
        return None

    async def _all_told(self, call: Call) -> bool:
        """Waits until the agent has told again what it loaded. Returns whether that was anything.

        gemini answers before it tells, but tells all before it looks at the next request.
        """
        with suppress(rpc.RpcError, TimeoutError):
            async with asyncio.timeout(_BARRIER_S):
                await call(_BARRIER, {})
        return self._told_again > 0

    def hears(self, update: Mapping[str, Any]) -> bool:
        """Whether an update only tells again what was said: then it is no event."""
        kind = update.get("sessionUpdate")
        if self._over or not isinstance(kind, str) or not (kind in _SAID_AGAIN or kind == _COUNTED_AGAIN):
            return False
        self._told_again += kind != _COUNTED_AGAIN
        return True

    def over(self) -> None:
        """A prompt is sent: what is told from now on is new."""
        self._over = True

    def proved_none(self, answer: Any) -> bool:
        """Whether the answer to the first prompt says that the agent has no such session, whatever it said before.

        Then it is of no use, and what it cannot recall shall not be asked for again.
        """
        doubted, self._doubted = self._doubted, False
        self._lost = doubted and isinstance(answer, rpc.RpcError) and answer.code in _NO_SUCH_SESSION
        return self._lost

    def lasting(self, session_id: str) -> str | None:
        """The agent's id of its conversation, where it is worth keeping; agents may call one anything."""
        return None if self._lost or len(session_id) > _ID_LIMIT_CHARS else session_id


def _methods(memory: Memory, initialized: Mapping[str, Any]) -> Iterator[str]:
    """What the agent says that it has, best first: a load tells all again, and is the slower for it."""
    told = _object(initialized.get("agentCapabilities"))
    of_sessions = _object(told.get("sessionCapabilities"))
    if memory.how == "fork" and of_sessions.get("fork") is not None:
        yield "session/fork"
    if of_sessions.get("resume") is not None:
        yield "session/resume"
    if told.get("loadSession") is True:
        yield "session/load"


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
