"""Streams as an app reads them: events as they come, the text of them, and the result at the end.

Where a stream stands, and how it goes on after a cut, is `_streams`' matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from clawdforge.client import _streams
from clawdforge.client._core import Core
from clawdforge.client._requests import Wire
from clawdforge.client._sources import PromptEvents, SessionEvents
from clawdforge.client.events import Event, PermissionRequestEvent, TextEvent
from clawdforge.wire.permissions import Decision, PermissionAnswered

R = TypeVar("R")
OnPermission = Callable[[PermissionRequestEvent], Decision | None]


class EventStream(Iterator[Event]):
    """Events of a session, one after the other, each once, whatever happens to the connection.

    It is begun by asking for the first event. Whatever ended the reading, a `break`, an exception or Ctrl-C, who
    asks for another event gets the one after the last. As a context manager it is closed at the end of the block;
    so it is when nobody holds it any more. To be read by one thread at a time.
    """

    def __init__(
        self,
        wire: Wire,
        core: Core,
        source: SessionEvents | PromptEvents,
        on_permission: OnPermission | None = None,
    ) -> None:
        self._wire = wire
        self._core = core
        self._source = source
        self._on_permission = on_permission
        self._playing: Any = None

    @property
    def last_seq(self) -> int:
        """The `seq` of the last event that was read, 0 before any: where `Session.events(after=)` goes on."""
        return self._source.cursor.told

    def text_deltas(self) -> Iterator[str]:
        """The pieces of the answer's text, as they come; joined they are what a person reads."""
        return (event.content for event in self if isinstance(event, TextEvent))

    def answer(
        self, permission_id: str, decision: Decision | None = None, *, option_id: str | None = None
    ) -> PermissionAnswered:
        """Answers a `PermissionRequestEvent`, by a decision or by one of its options; as `Session.answer`.

        To be called within the loop, or by another thread. Of a request with `on_permission`, which answers by
        itself, this is not needed; one that its session's policy has answered (`expires_at` is None) waits for
        nobody.

        Raises:
            ForgeConflictError: it was answered already; `body` has how, and by whom.
            ForgeInvalidError: the agent does not offer that.
            ForgeNotFoundError: nothing of that id was ever asked.
        """
        return self._wire.perform(_streams.answer(self._core, self._source, permission_id, decision, option_id))

    def close(self) -> None:
        """Lets go of the connection. What runs on the gateway runs on; reading on goes on after the last event."""
        if self._playing is not None:
            self._playing.close()
            self._playing = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        if self._playing is None:
            self._playing = self._wire.play(_streams.heard(self._core, self._source, None, self._on_permission))
        try:
            event: Event = next(self._playing)
        except BaseException:
            self._playing = None  # who asks once more goes on after the last event
            raise
        self._source.cursor.told = event.seq
        return event

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._source.session_id or 'not begun'} after {self.last_seq}>"


class TurnStream(EventStream, Generic[R]):
    """The events of one turn or run, from its start to its end. The prompt is sent with the first one asked for.

    Leaving the loop early does not stop the turn: `cancel` does.
    """

    _source: PromptEvents

    @property
    def session_id(self) -> str | None:
        """The session, or the run; None for a run that has not begun."""
        return self._source.session_id

    @property
    def turn_index(self) -> int | None:
        """The turn, counted from 1; None before its first event."""
        return self._source.cursor.turn_index

    def result(self) -> R:
        """Reads on to the end, and returns what the blocking call would have returned.

        Raises:
            ForgeTurnError: the turn failed.
            ForgeSchemaError: the answer does not fit the type that was asked for.
            ForgeError: no answer came.
        """
        for _ in self:
            """What it tells is in the result, too."""
        result: R = self._wire.perform(self._source.result(self._core))
        return result

    def cancel(self) -> bool:
        """Ends the turn, and returns whether this did it: False where it had ended, or was never begun.

        The stream then tells the end, `cancelled`. Another thread may call this.
        """
        return self._wire.perform(self._source.cancel(self._core))
