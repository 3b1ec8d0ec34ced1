"""A session's agent is woken: it goes on with the conversation that it keeps, or is told of it, or there is none.

Must not know when, nor what an agent's own id for a conversation means.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

from clawdforge.server.agents.base import Agent, Memory, OpenAgent
from clawdforge.server.sessions.history import History
from clawdforge.server.store.base import Store
from clawdforge.server.store.stored import SessionRow
from clawdforge.wire.agents import AgentOptions
from clawdforge.wire.events import EncodedEvent

How = Literal["new", "native", "replayed"]
_PAGE: Final = 200
_PAGE_BYTES: Final = 64 * 1024  # so much is read at a time beside the loop, which must not wait for it


def opened(row: SessionRow, options: AgentOptions, startup_timeout_s: float, turn_index: int) -> OpenAgent:
    """What to open for a turn: with the memory of those before, where there were any."""
    known = row.agent_session_id if turn_index > 1 else None
    # Until the fork has a conversation of its own: that of the session that it was made of, in its copied home.
    forked = row.forked_from is not None and row.forked_from["agent_session_id"] == known
    memory = None if known is None else Memory(known, "fork" if forked else "resume")
    return OpenAgent(row.session_id, options, Path(row.cwd), startup_timeout_s, memory)


async def remind(agent: Agent, store: Store, session_id: str, turn_index: int) -> How:
    """Tells a fresh agent of the turns before this one, unless it knows them. Returns how it came to know.

    Raises:
        StorageError: the events could not be read.
    """
    if agent.recalled:
        return "native"
    if turn_index == 1:
        return "new"
    history = History(agent.history_bytes, turn_index)
    after = 0
    while page := await store.encoded_events(session_id, after=after, limit=_PAGE, limit_bytes=_PAGE_BYTES):
        await asyncio.to_thread(_take, history, page)
        after = page[-1].seq
    conversation = history.text()
    if conversation is None:
        return "new"
    agent.hand_over(conversation)
    return "replayed"


def _take(history: History, page: Sequence[EncodedEvent]) -> None:
    for event in page:
        history.add(event)
