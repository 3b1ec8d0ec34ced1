"""What a session's object knows by itself: what it was told when it was opened, and whether it is closed.

The base of both twins. Must do no I/O.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clawdforge.client import _api, _calls, _flow
from clawdforge.client._call import Call
from clawdforge.client._core import Core
from clawdforge.client._log import log
from clawdforge.client._steps import Flow
from clawdforge.errors import ForgeError, ForgeNotFoundError

if TYPE_CHECKING:
    from clawdforge.wire.sessions import SessionCreated


class SessionFacts:
    """Comes to be unopened with an `opening` call, or open with what `created` tells."""

    def __init__(
        self, core: Core, *, opening: Call | None = None, created: SessionCreated | None = None, schema: Any = None
    ) -> None:
        self._core = core
        self._opening = opening
        self._created = created
        self._schema = schema
        self._entered = False
        self._closed = False

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

    def __repr__(self) -> str:
        if self._created is None:
            return f"<{type(self).__name__}, not open yet>"
        state = "closed" if self._closed else "open"
        return f"<{type(self).__name__} {self._created.session_id} {self._created.agent} {state}>"

    def _info(self) -> SessionCreated:
        if self._created is None:
            raise ForgeError(
                "this session is not open yet: use it in a `with` block, or make it by create_session()"
            )
        return self._created

    def _open_id(self) -> str:
        """The session's id, of one that takes turns."""
        session_id = self._info().session_id
        if self._closed:
            raise ForgeError(f"session {session_id} is closed; make a new one")
        return session_id

    def _open(self) -> Flow[None]:
        if self._closed:
            raise ForgeError("this session is closed; make a new one")
        if self._created is not None or self._opening is None:
            raise ForgeError("this session is open already")
        self._created = _api.session_created((yield from _flow.ask(self._core, self._opening)))

    def _enter(self) -> Flow[None]:
        if self._entered:
            raise ForgeError("this session has been entered already; make a new one")
        if self._closed:
            raise ForgeError("this session is closed; make a new one")
        if self._created is None:
            yield from self._open()
        self._entered = True

    def _close(self, on_its_way: BaseException | None) -> Flow[None]:
        """Ends the session. `on_its_way` is the exception that is being handled meanwhile: it goes first."""
        if self._closed:
            return
        try:
            if self._created is not None:
                yield from _flow.ask(self._core, _calls.close_session(self._created.session_id))
        except ForgeNotFoundError:
            log.info("session %s is gone already", self.session_id)
        except ForgeError as error:
            if on_its_way is None:
                raise
            # What went wrong before matters more; the gateway closes idle sessions by itself.
            log.warning("could not close session %s: %s", self.session_id, error)
            return
        self._closed = True
