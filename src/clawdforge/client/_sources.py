"""What a stream is opened by, where it stands, and what becomes of it: a session's events, or a prompt's. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Protocol
from urllib.parse import unquote

from clawdforge.client import _api, _call, _calls, _flow
from clawdforge.client._api import Reply
from clawdforge.client._asking import Prompted
from clawdforge.client._call import Call
from clawdforge.client._core import Core
from clawdforge.client._cursor import Cursor
from clawdforge.client._steps import Flow
from clawdforge.client.events import Event
from clawdforge.errors import ForgeError, ForgeTransportError, ForgeUnavailableError


class Source(Protocol):
    """What a stream is opened by, and what becomes of its events."""

    cursor: Cursor

    @property
    def session_id(self) -> str | None:
        """The session or run, None while that is not known."""

    def check(self, core: Core) -> None:
        """Raises a `ForgeError` where the stream must not be opened (again)."""

    def next_call(self) -> Call:
        """What opens the stream where it stands."""

    def opened(self, reply: Reply) -> None:
        """It is open."""

    def is_over(self, core: Core) -> Flow[bool]:
        """Whether a stream that was closed without a word has nothing more to tell, but for what can be read."""

    def told(self, body: dict[str, Any]) -> list[Event]:
        """What came is no stream, but this object: the events in it. Says whether that was the end."""


@dataclass(slots=True)
class SessionEvents:
    """All events of a session, those that are yet to come with them where it is followed."""

    session_id: str
    cursor: Cursor
    follow: bool = True

    def check(self, core: Core) -> None:
        """It can be opened as often as one likes."""

    def next_call(self) -> Call:
        """The session's events after the last one: a stream of them, or a page."""
        call = _calls.events(self.session_id, after=self.cursor.after)
        return call.streamed() if self.follow else call

    def opened(self, reply: Reply) -> None:
        """Nothing is to be learnt from it."""

    def is_over(self, core: Core) -> Flow[bool]:
        """Of a session that is closed, or a run that has ended, there is nothing to follow: the rest is read."""
        try:
            state = yield from _flow.ask(core, _calls.record(self.session_id))
        except (ForgeTransportError, ForgeUnavailableError):
            return False  # the gateway starts anew, perhaps
        if state.get("closed_at") is not None or state.get("status") in ("done", "failed"):
            self.follow = False
        return not self.follow

    def told(self, body: dict[str, Any]) -> list[Event]:
        """A page of them. An empty one is the end."""
        found = self.cursor.take_objects(_api.rows(body, "events"))
        self.cursor.ended = self.cursor.ended or not found
        return found


class PromptEvents:
    """The events of the one turn that a prompt begins.

    Attributes:
        cursor: where its reader stands.
        begun: whether the prompt was sent.
    """

    def __init__(self, prompted: Prompted) -> None:
        self.cursor: Cursor = Cursor(one_turn=True)
        self.begun: bool = False
        self._prompted = prompted
        self._session_id = prompted.session_id
        self._whole: dict[str, Any] | None = None

    @property
    def session_id(self) -> str | None:
        """The session or run, None while that is not known."""
        return self._session_id

    def check(self, core: Core) -> None:
        """A prompt that was sent is sent again only where that does nothing."""
        if self.begun and not self.cursor.after and not self.cursor.ended:
            self._check_known(core)

    def next_call(self) -> Call:
        """The prompt's POST; once something came, the session's events after that."""
        self.begun = True
        if self.cursor.after and self._session_id is not None:
            return _calls.events(self._session_id, after=self.cursor.after).streamed()
        return self._prompted.call.streamed()

    def opened(self, reply: Reply) -> None:
        """Of a run, this says which one it is; it is believed once an event has come with it."""
        if self._prompted.session_id is None and not self.cursor.after:
            room, _, name = reply.headers.get("Location", "").rpartition("/")
            run_id = unquote(name)
            self._session_id = run_id if room.endswith("/runs") and _api.is_name(run_id) else None

    def is_over(self, core: Core) -> Flow[bool]:
        """A turn has an end, and tells it."""
        yield from ()
        return False

    def told(self, body: dict[str, Any]) -> list[Event]:
        """A gateway that does not stream has done the whole turn."""
        self._whole, self.cursor.ended = body, True
        found = body.get("events")
        numbered = enumerate(found if isinstance(found, list) else [], start=1)
        place = {"turn_index": body.get("turn_index"), "ts": 0}
        return self.cursor.take_objects(
            [{"seq": seq, **place, **each} for seq, each in numbered if isinstance(each, dict)]
        )

    def result(self, core: Core, within_s: float = math.inf) -> Flow[Any]:
        """The turn's result, once its stream has ended: the same POST again, in the blocking form.

        Args:
            core: the Forge's.
            within_s: how long its caller has.

        Raises:
            ForgeError: the turn failed, its answer does not fit the type that was asked for, or the gateway cannot
                be asked for it without doing it again.
        """
        if self._whole is not None:
            return self._prompted.read(self._whole)
        self._check_known(core)
        call = replace(self._prompted.call, patience_s=min(_call.WRITE_S, within_s - core.margin_s))
        told = {"session_id": self._session_id, "turn_index": self.cursor.turn_index}
        return self._prompted.read((yield from _flow.ask(core, call, **told)))

    def _check_known(self, core: Core) -> None:
        if not core.gateway.honours_keys:
            raise ForgeError(
                "this gateway does not say that it honours keys: sent once more, the prompt might run twice; "
                "what came of it is on record where it ran"
            )

    def cancel(self, core: Core) -> Flow[bool]:
        """Ends the turn. Returns whether this did it.

        Raises:
            ForgeError: it could not be asked for.
        """
        if not self.begun:
            return False
        if self._session_id is None or self.cursor.turn_index is None:
            raise ForgeError("nothing of this turn has come yet: read its first event, then cancel it")
        call = _calls.cancel(self._session_id, self.cursor.turn_index)
        return _api.cancelled((yield from _flow.ask(core, call)))
