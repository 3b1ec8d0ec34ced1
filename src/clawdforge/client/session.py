"""A session as an app holds it: when it opens, when it closes, and what may be asked of it in between.

All traffic goes through the `Forge` that it came from; this file must not know HTTP.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from clawdforge.client import _api, _call
from clawdforge.client._call import Call
from clawdforge.errors import ForgeError, ForgeProtocolError

if TYPE_CHECKING:
    from clawdforge.wire.files import FileToken
    from clawdforge.wire.sessions import SessionCreated
    from clawdforge.wire.turns import TurnResult

_log = logging.getLogger("clawdforge")


class Sender(Protocol):
    """What a session needs of the Forge that it came from."""

    @property
    def default_timeout_secs(self) -> int:
        """The deadline of turns that name none."""

    def send(self, call: Call) -> dict[str, Any]:
        """Performs a call."""

    def get_session(self, session_id: str) -> dict[str, Any]:
        """The gateway's record of a session."""


class Session:
    """A conversation of many turns with one agent in one workspace.

    Comes from `Forge.session`, `Forge.create_session` or `Forge.attach_session`, and keeps that Forge alive.
    As a context manager it is closed at the end of the block. One turn runs at a time; a session may be handed
    from thread to thread.
    """

    def __init__(
        self, forge: Sender, *, opening: Call | None = None, created: SessionCreated | None = None
    ) -> None:
        self._forge = forge
        self._opening = opening
        self._created = created
        self._entered = False
        self._closed = False

    def open(self) -> Self:
        """Creates the session; its agent has started when this returns. A `with` block does it by itself.

        Raises:
            ForgeError: it is open or closed already, or the gateway could not start the agent.
        """
        if self._closed:
            raise ForgeError("this session is closed; make a new one")
        if self._created is not None or self._opening is None:
            raise ForgeError("this session is open already")
        created = _api.session_created(self._forge.send(self._opening))
        if not created.session_id:
            raise ForgeProtocolError("the new session has no session_id")
        self._created = created
        return self

    @property
    def forge(self) -> Sender:
        """The Forge that this session came from."""
        return self._forge

    @property
    def session_id(self) -> str:
        """The session's name on the gateway: `sess_…`."""
        return self._info().session_id

    @property
    def agent(self) -> str:
        """The name of the agent that works here."""
        return self._info().agent

    @property
    def cwd(self) -> str:
        """The workspace's path on the gateway's host."""
        return self._info().cwd

    @property
    def agent_cwd(self) -> str:
        """The same directory by the path that the agent knows it by."""
        return self._info().agent_cwd

    @property
    def created_at(self) -> int:
        """When the session was made, in epoch seconds."""
        return self._info().created_at

    @property
    def closed(self) -> bool:
        """Whether this object has closed the session; what the gateway did by itself is in `state()`."""
        return self._closed

    def state(self) -> dict[str, Any]:
        """The gateway's record of the session, as it was sent: `live`, `turn_count`, `closed_at`, `meta`, …

        Answers for a closed session too, as long as the gateway remembers it.
        """
        return self._forge.get_session(self.session_id)

    def turn(
        self,
        prompt: str,
        files: Iterable[str | FileToken] | None = None,
        timeout_secs: int | None = None,
        schema: Mapping[str, Any] | None = None,
    ) -> TurnResult:
        """Sends one prompt and waits until the agent has answered it.

        Args:
            prompt: what the agent shall do; megabytes are fine.
            files: tokens of uploads, which the agent finds in its workspace.
            timeout_secs: the turn's deadline, 1 to 86400 s; the Forge's default where None.
            schema: a JSON Schema for the answer: see `TurnResult.result` and `.schema_valid`.

        Returns:
            What the agent did. `ok` is False where it refused, was cancelled or did nothing at all.

        Raises:
            ValueError: the prompt or a file token is empty.
            ForgeAPIError: the turn failed: 504 `timeout`, 502 `agent_failed`, 409 `turn_in_progress`, …
            ForgeError: the session is closed, or no answer came.
        """
        limit = self._forge.default_timeout_secs if timeout_secs is None else timeout_secs
        session_id = self._info().session_id
        call = _call.turn(session_id, prompt, timeout_secs=limit, files=files, schema=schema)
        if self._closed:
            raise ForgeError(f"session {session_id} is closed; make a new one")
        return _api.turn_result(self._forge.send(call))

    def close(self) -> None:
        """Ends the session and its agent. Safe to repeat, before the session was ever opened, and in `finally`.

        A failure never takes the place of an exception that is on its way already: then it is only logged.

        Raises:
            ForgeError: the gateway could not be told; another try may succeed.
        """
        on_its_way = sys.exc_info()[1]
        if self._closed:
            return
        try:
            if self._created is not None:
                self._forge.send(_call.close_session(self._created.session_id))
        except ForgeError as error:
            if on_its_way is None:
                raise
            # What went wrong before matters more; the gateway closes idle sessions by itself.
            _log.warning("could not close session %s: %s", self.session_id, error)
            return
        self._closed = True

    def __enter__(self) -> Self:
        if self._entered:
            raise ForgeError("this session has been entered already; make a new one")
        if self._closed:
            raise ForgeError("this session is closed; make a new one")
        if self._created is None:
            self.open()
        self._entered = True
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        if self._created is None:
            return "<Session, not open yet>"
        return f"<Session {self._created.session_id} {self._created.agent} {'closed' if self._closed else 'open'}>"

    def _info(self) -> SessionCreated:
        if self._created is None:
            raise ForgeError("this session is not open yet: use it in a `with` block")
        return self._created
