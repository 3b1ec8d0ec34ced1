"""A session as an app holds it: when it opens, when it closes, and what may be asked of it in between.

What is sent and how it is read is the flows' matter; this file must not know HTTP.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from clawdforge.client import _api, _asking, _calls, _flow, _turns
from clawdforge.client._call import Call
from clawdforge.client._calls import Files
from clawdforge.client._core import Core
from clawdforge.client._facts import SessionFacts
from clawdforge.client._requests import Wire

if TYPE_CHECKING:
    from typing import Unpack

    from clawdforge.client.events import Event
    from clawdforge.client.files import SessionFiles
    from clawdforge.client.options import TurnOptions
    from clawdforge.client.stream import EventStream, OnPermission, TurnStream
    from clawdforge.wire.diffs import TurnDiff
    from clawdforge.wire.permissions import Decision, PermissionAnswered, PermissionItem
    from clawdforge.wire.sessions import SessionCreated
    from clawdforge.wire.turns import TurnResult

T = TypeVar("T")


class Session(SessionFacts):
    """A conversation of many turns with one agent in one workspace.

    Comes from `Forge.session`, `Forge.create_session` or `Forge.attach_session`. As a context manager it is closed
    at the end of the block. One turn runs at a time; a session may be handed from thread to thread.
    """

    def __init__(
        self,
        wire: Wire,
        core: Core,
        *,
        opening: Call | None = None,
        created: SessionCreated | None = None,
        schema: Any = None,
    ) -> None:
        super().__init__(core, opening=opening, created=created, schema=schema)
        self._wire = wire

    def open(self) -> Self:
        """Creates the session; its agent has started when this returns. A `with` block does it by itself.

        Raises:
            ForgeError: it is open or closed already, or the gateway could not start the agent.
        """
        self._wire.perform(self._open())
        return self

    @property
    def files(self) -> SessionFiles:
        """The files of its workspace."""
        from clawdforge.client.files import SessionFiles

        return SessionFiles(self._wire, self._core, self.session_id)

    def state(self) -> dict[str, Any]:
        """The gateway's record of the session, as it was sent: `live`, `turn_count`, `closed_at`, `meta`, …

        Answers for a closed session too, as long as the gateway remembers it.
        """
        return self._wire.perform(_flow.ask(self._core, _calls.record(self.session_id)))

    @overload
    def turn(
        self,
        prompt: str,
        files: Files = None,
        timeout_secs: float | None = None,
        *,
        schema: type[T],
        on_event: Callable[[Event], object] | None = None,
        on_permission: OnPermission | None = None,
        **options: Unpack[TurnOptions],
    ) -> TurnResult[T]: ...
    @overload
    def turn(
        self,
        prompt: str,
        files: Files = None,
        timeout_secs: float | None = None,
        schema: Mapping[str, Any] | None = None,
        *,
        on_event: Callable[[Event], object] | None = None,
        on_permission: OnPermission | None = None,
        **options: Unpack[TurnOptions],
    ) -> TurnResult[Any]: ...
    def turn(
        self,
        prompt: str,
        files: Files = None,
        timeout_secs: float | None = None,
        schema: Any = None,
        *,
        on_event: Callable[[Event], object] | None = None,
        on_permission: OnPermission | None = None,
        **options: Unpack[TurnOptions],
    ) -> TurnResult[Any]:
        """Sends one prompt and waits until the agent has answered it.

        Args:
            prompt: what the agent shall do; megabytes are fine.
            files: tokens of uploads, which the agent finds in its workspace.
            timeout_secs: the turn's deadline, 1 to 86400 s; where None what `Forge.session` was given, else the
                Forge's default.
            schema: what the answer shall be: a JSON Schema, or a dataclass, a TypedDict or a pydantic model, of
                which `result` is then an instance.
            on_event: told each event as it comes.
            on_permission: asked what an agent shall be answered that wants to use a tool, where the session's
                policy is `ask`; None leaves that to others.
            **options: see `TurnOptions`.

        Returns:
            What the agent did. `ok` is False where it refused, was cancelled or did nothing at all.

        Raises:
            ValueError: the prompt or a file token is empty.
            TypeError: there is no such option, or the schema is none.
            ForgeTurnError: the turn failed; `events` has what was seen of it.
            ForgeBusyError: a turn runs already.
            ForgeSchemaError: the answer does not fit the type that was asked for.
            ForgeError: the session is closed, or no answer came.
        """
        limit = self._core.limit_secs(timeout_secs)
        prompted = self._prompted(prompt, files, limit, schema, options)
        result: TurnResult[Any] = self._wire.perform(_turns.answer(self._core, prompted, on_event, on_permission))
        return result

    @overload
    def stream(
        self,
        prompt: str,
        files: Files = None,
        timeout_secs: float | None = None,
        *,
        schema: type[T],
        on_permission: OnPermission | None = None,
        **options: Unpack[TurnOptions],
    ) -> TurnStream[TurnResult[T]]: ...
    @overload
    def stream(
        self,
        prompt: str,
        files: Files = None,
        timeout_secs: float | None = None,
        schema: Mapping[str, Any] | None = None,
        *,
        on_permission: OnPermission | None = None,
        **options: Unpack[TurnOptions],
    ) -> TurnStream[TurnResult[Any]]: ...
    def stream(
        self,
        prompt: str,
        files: Files = None,
        timeout_secs: float | None = None,
        schema: Any = None,
        *,
        on_permission: OnPermission | None = None,
        **options: Unpack[TurnOptions],
    ) -> TurnStream[Any]:
        """One turn as a stream of events; the prompt is sent with the first one asked for.

            for event in session.stream("Tidy up"):
                print(event)

        A connection that is cut is made anew, and the stream goes on where it was. Leaving the loop does not stop
        the turn: `TurnStream.cancel` does. `TurnStream.result` is what `turn` would have returned.

        Args:
            timeout_secs: the turn's deadline; None: the session's, and where that has none there is none.
            prompt, files, schema, on_permission, **options: as `turn` has them.

        Raises:
            ValueError, TypeError: as `turn` has them. What the gateway says is raised by the stream.
        """
        from clawdforge.client import _sources, stream

        source = _sources.PromptEvents(self._prompted(prompt, files, timeout_secs, schema, options))
        return stream.TurnStream(self._wire, self._core, source, on_permission)

    def _prompted(
        self, prompt: str, files: Files, timeout_secs: float | None, schema: Any, options: Mapping[str, Any]
    ) -> _asking.Prompted:
        return _asking.turn(
            self._core,
            self._open_id(),
            prompt,
            files=files,
            timeout_secs=timeout_secs,
            schema=schema,
            inherited=self._schema,
            **options,
        )

    def events(self, after: int = 0, *, follow: bool = True) -> EventStream:
        """All that happens in the session, from the beginning or after an event.

        Args:
            after: the `seq` of the last event that is not wanted any more.
            follow: go on with what is yet to come, until the session is closed; else end with what there is.
        """
        from clawdforge.client import _sources, stream
        from clawdforge.client._cursor import Cursor

        source = _sources.SessionEvents(self.session_id, Cursor(after), follow)
        return stream.EventStream(self._wire, self._core, source)

    def turns(self) -> Iterator[dict[str, Any]]:
        """The session's turns, newest first, as they were sent: `turn_index`, `status`, `ok`, `stop_reason`, …"""
        return self._wire.play(_flow.pages(self._core, _calls.list_turns(self.session_id), "turns"))

    def get_turn(self, turn_index: int) -> dict[str, Any]:
        """The record of one turn, as it was sent: with its `events` so far, folded.

        Raises:
            ForgeNotFoundError: it never was.
        """
        return self._wire.perform(_flow.ask(self._core, _calls.get_turn(self.session_id, turn_index)))

    def cancel(self, turn_index: int | None = None) -> bool:
        """Ends a turn: the one of that number, running or waiting, else the one that runs.

        Returns:
            Whether this call ended it; False where it had ended, or none ran. It has ended by then.
        """
        return _api.cancelled(
            self._wire.perform(_flow.ask(self._core, _calls.cancel(self.session_id, turn_index)))
        )

    def permissions(self) -> list[PermissionItem]:
        """The requests of the agent that wait for an answer, oldest first."""
        return _api.permission_items(
            self._wire.perform(_flow.ask(self._core, _calls.list_permissions(self.session_id)))
        )

    def answer(
        self, permission_id: str, decision: Decision | None = None, *, option_id: str | None = None
    ) -> PermissionAnswered:
        """Answers a request of the agent's, by a decision or by one of its options.

        Raises:
            ForgeConflictError: it was answered already; `body` has how, and by whom.
            ForgeInvalidError: the agent does not offer that.
            ForgeNotFoundError: nothing of that id was ever asked.
        """
        call = _calls.answer_permission(self.session_id, permission_id, decision=decision, option_id=option_id)
        return _api.permission_answered(self._wire.perform(_flow.ask(self._core, call)))

    def diff(self, turn: int | None = None) -> TurnDiff:
        """What a turn changed in the workspace, as patches; the last one that has begun where None.

        Raises:
            ForgeNotFoundError: there is no such turn, or what it changed is not kept any more.
        """
        return _api.turn_diff(self._wire.perform(_flow.ask(self._core, _calls.diff(self.session_id, turn))))

    def fork(self, meta: Mapping[str, Any] | None = None) -> Session:
        """A new session with the same history and a copy of the workspace; from there on they are two.

        Args:
            meta: your own JSON object, kept with the new session; that of this one where None.

        Raises:
            ForgeBusyError: a turn runs or waits.
        """
        body = self._wire.perform(_flow.ask(self._core, _calls.fork(self.session_id, meta)))
        return Session(self._wire, self._core, created=_api.session_forked(body), schema=self._schema)

    def close(self) -> None:
        """Ends the session and its agent. Safe to repeat, before the session was ever opened, and in `finally`.

        A failure never takes the place of an exception that is on its way already: then it is only logged.

        Raises:
            ForgeError: the gateway could not be told; another try may succeed.
        """
        self._wire.perform(self._close(sys.exc_info()[1]))

    def __enter__(self) -> Self:
        self._wire.perform(self._enter())
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
