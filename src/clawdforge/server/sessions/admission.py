"""What may begin: who has how much open, how much runs, and whether the gateway still takes anything new."""

from __future__ import annotations

import time
from dataclasses import dataclass

from clawdforge.server.sessions import answers
from clawdforge.server.settings import Settings
from clawdforge.server.store.stored import SessionKind, SessionRow


@dataclass(slots=True)
class OpenSession:
    """An open session, as long as it is open: whose it is, and when it was last used (monotonic seconds)."""

    app_id: str
    kind: SessionKind
    used_at: float


class Admission:
    """Counts what is open and what runs. Belongs to the event loop: what it admits has begun at once.

    Attributes:
        running_turns: turns that were admitted and have not come to their end.
        draining: nothing new is taken any more.
        stopping: what has not reached its agent yet does not go on either.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._open: dict[str, OpenSession] = {}
        self.running_turns = 0
        self.draining = False
        self.stopping = False

    def opened(self, row: SessionRow) -> None:
        """A session or run is open."""
        self._open[row.session_id] = OpenSession(row.app_id, row.kind, time.monotonic())

    def used(self, session_id: str) -> None:
        """A session was used now; one that is not open is passed over."""
        if (entry := self._open.get(session_id)) is not None:
            entry.used_at = time.monotonic()

    def closed(self, session_id: str) -> None:
        """A session or run is open no more."""
        self._open.pop(session_id, None)

    @property
    def open_sessions(self) -> int:
        """How many sessions, runs left out, are open."""
        return sum(each.kind == "session" for each in self._open.values())

    def overdue(self) -> list[str]:
        """Sessions that nobody has used for their time to live."""
        return [session_id for session_id in self._open if self.is_overdue(session_id)]

    def is_overdue(self, session_id: str) -> bool:
        """Whether a session is open and was not used for its time to live."""
        entry, ttl_s = self._open.get(session_id), self._settings.session_ttl_secs
        return entry is not None and entry.kind == "session" and ttl_s < time.monotonic() - entry.used_at

    def drowsy(self, session_id: str) -> bool:
        """Whether a session is open and was not used for so long that its agent need not stay awake."""
        entry, idle_s = self._open.get(session_id), self._settings.agent_idle_secs
        return entry is not None and 0 < idle_s < time.monotonic() - entry.used_at

    def admit_session(self, app_id: str) -> None:
        """Whether an app may open a session. Raises Problem `shutting_down` or `too_many_sessions`."""
        self._admit()
        limit = self._settings.max_sessions_per_app
        if sum(each.app_id == app_id and each.kind == "session" for each in self._open.values()) >= limit:
            raise answers.too_many_sessions(limit)

    def admit_turn(self) -> None:
        """Whether a turn may start. Raises Problem `shutting_down` or `too_many_turns`."""
        self._admit()
        if self.running_turns >= self._settings.max_running_turns:
            raise answers.too_many_turns()

    def go_on(self) -> None:
        """Whether a turn that has begun may go on to its agent. Raises Problem `shutting_down`."""
        if self.stopping:
            raise answers.shutting_down()

    def _admit(self) -> None:
        if self.draining:
            raise answers.shutting_down()
