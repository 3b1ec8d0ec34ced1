"""A prompt that somebody has asked, from the moment it is let in until its answer: what its callers wait for.

There may be many callers, or none any more. Must not run anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from clawdforge.server.sessions.turn import Turn
from clawdforge.server.store.base import StorageError
from clawdforge.server.store.stored import TurnStatus
from clawdforge.wire.problems import Problem

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Accepted:
    """A turn that is in the store: its number, and the `seq` after which its events come.

    `status` is the one that it had when it was asked for.
    """

    turn_index: int
    after_seq: int
    status: TurnStatus = "running"


class Asked(Generic[T]):
    """What a caller has of a prompt.

    Attributes:
        session_id: of the session or run.
        accepted: done once the turn is durable: from then on it ends exactly once, whoever waits for it.
        answer: done with the answer once the turn's end is durable, or failed with its Problem.
        replayed: whether the prompt was asked before, by the same key.
    """

    def __init__(
        self,
        session_id: str,
        accepted: asyncio.Future[Accepted],
        answer: asyncio.Future[T],
        *,
        replayed: bool = False,
    ) -> None:
        self.session_id = session_id
        self.accepted = accepted
        self.answer = answer
        self.replayed = replayed

    def again(self) -> Asked[T]:
        """The same for another caller, who has asked by the same key."""
        return Asked(self.session_id, self.accepted, self.answer, replayed=True)


class Ask(Asked[T]):
    """A prompt on its way, as its session has it.

    Attributes:
        turn: how it is played.
        before: the one that was let in before it and has not ended, where there was one.
        go: done once all that were let in before it have ended.
    """

    def __init__(self, session_id: str, turn: Turn) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(session_id, loop.create_future(), loop.create_future())
        self.turn = turn
        self.before: Ask[Any] | None = None
        self.go: asyncio.Future[None] = loop.create_future()

    async def told(self, work: Coroutine[Any, Any, T]) -> None:
        """Does the work that leads to the answer, and tells whoever waits for it.

        Two rounds of the loop sooner than by `asyncio.shield`.
        """
        try:
            result = await work
        except (Problem, StorageError) as error:
            # Without its traceback, which holds the prompt, which holds the error: megabytes of garbage, for long.
            self._fail(error.with_traceback(None))
        except BaseException as error:
            self._fail(error)
            raise
        else:
            if not self.answer.done():
                self.answer.set_result(result)

    def _fail(self, error: BaseException) -> None:
        for future in (self.accepted, self.answer):
            if not future.done():
                future.set_exception(error)
                future.exception()  # nobody may wait any more
