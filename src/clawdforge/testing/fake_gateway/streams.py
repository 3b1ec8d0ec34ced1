"""A session's events as they come: the pieces of a stream. Must not know who asks for them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from clawdforge.testing.fake_gateway.connection import Pieces
from clawdforge.testing.fake_gateway.session import Session, Turn
from clawdforge.testing.fake_gateway.state import App, State
from clawdforge.wire import sse


def of_session(state: State, app: App, session: Session, after: int) -> Pieces:
    """All events after a `seq`, until the session is closed, the app's token revoked or the gateway closed."""

    def over() -> bool:
        return session.closed_at is not None or app.revoked_at is not None

    return _frames(state, session, after, over, None)


def of_turn(state: State, app: App, session: Session, turn: Turn) -> Pieces:
    """The events of one turn, from its first to its `turn_end`."""
    return _frames(state, session, turn.first_seq - 1, lambda: turn.ended or app.revoked_at is not None, turn)


def _frames(state: State, session: Session, after: int, over: Callable[[], bool], turn: Turn | None) -> Pieces:
    def stirred(after: int) -> bool:
        return len(session.events) > after or over() or state.closing

    while True:
        with state.lock:
            beats = not session.wait(partial(stirred, after), state.heartbeat_s)
            new = session.events[after:]
            ended = over() or state.closing
            after = max(after, len(session.events))
        for event in new:
            if turn is None or event.turn_index == turn.index:
                yield sse.frames([event.encoded()])
        if ended:
            return
        if beats:
            yield sse.HEARTBEAT
