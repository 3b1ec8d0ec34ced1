"""Where a story plays: an app on a real gateway, the scripted model behind its agent, and eyes on this machine.

Stories use the SDK and the model alone, so that one table serves tests and users. Only what no call can show is
looked at directly: the workspace, and the agent's processes. So the gateway must run on this machine.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from clawdforge.client.forge import Forge
from clawdforge.client.session import Session
from clawdforge.errors import ForgeAPIError
from clawdforge.testing.fake_model import FakeModel, Request
from clawdforge.testing.stories import processes
from clawdforge.testing.stories.processes import Process
from clawdforge.wire.turns import TurnResult

PATIENCE_S: Final = 30.0


class StoryFailed(Exception):
    """A story went another way than it should; the message says what was expected, and what was seen."""


def expect(holds: bool, expected: str, seen: object) -> None:
    """Ends the story unless what is expected holds.

    Raises:
        StoryFailed: it does not.
    """
    if not holds:
        raise StoryFailed(f"expected {expected}; saw {seen!r}")


class Stage:
    """One agent, ready to play stories. `close` ends what it has opened.

    Args:
        forge: a fresh app of a gateway on this machine.
        model: the endpoint that the gateway's agent talks to.
        agent: its name on the gateway.
        outside: a directory outside of every workspace, which agents could write were there no wall.
    """

    def __init__(self, forge: Forge, model: FakeModel, agent: str, outside: Path) -> None:
        self.forge = forge
        self.model = model
        self.agent = agent
        self.outside = outside
        self._sessions: dict[frozenset[tuple[str, Any]], Session] = {}

    def info(self) -> Mapping[str, Any]:
        """What the gateway tells of the agent now (`wire.agents.AgentInfo`)."""
        rows: list[Mapping[str, Any]] = self.forge.agents()["agents"]
        return next(row for row in rows if row["name"] == self.agent)

    def word(self) -> str:
        """A word that was never said before: it finds a prompt among all that the model was asked."""
        return f"word-{secrets.token_hex(4)}"

    def session(self, **options: Any) -> Session:
        """The session with these options that the stories share; opened where there is none."""
        options = {"permissions": "workspace", **options}
        key = frozenset(options.items())
        if key not in self._sessions:
            self._sessions[key] = self.forge.create_session(self.agent, **options)
        return self._sessions[key]

    def turn(self, prompt: str, **options: Any) -> TurnResult:
        """A turn of the shared session with everything at its default."""
        return self.session().turn(prompt, **options)

    def asked(self, word: str) -> list[Request]:
        """The model's requests that a prompt with this word made, oldest first."""
        return [request for request in self.model.turns if word in request.last_text]

    def request(self, word: str) -> Request:
        """The first of those: of a prompt whose answer is words it is the only one.

        Raises:
            StoryFailed: there is none.
        """
        requests = self.asked(word)
        expect(bool(requests), "the prompt to reach the model", [one.path for one in self.model.requests[-3:]])
        return requests[0]

    def until_asked(self, word: str) -> Request:
        """Waits until the model has been asked."""
        try:
            self.model.wait_for(lambda _: self.asked(word), PATIENCE_S)
        except TimeoutError as error:
            raise StoryFailed(f"expected the prompt to reach the model; saw none: {error}") from error
        return self.request(word)

    @contextmanager
    def meanwhile(self, call: Callable[[], Any]) -> Iterator[Future[Any]]:
        """A call that runs beside the block. A block that breaks off ends it by closing the sessions."""
        with ThreadPoolExecutor(1) as threads:
            try:
                yield threads.submit(call)
            except BaseException:
                self.forget()
                raise

    @contextmanager
    def fails(self, *ends: tuple[int, str]) -> Iterator[dict[str, Any]]:
        """The block's call must end in an error of one of these statuses and codes. Gives its body, when it has.

        Raises:
            StoryFailed: it ended in another way.
        """
        body: dict[str, Any] = {}
        words = " or ".join(f"{status} {code}" for status, code in ends)
        try:
            yield body
        except ForgeAPIError as error:
            expect((error.status_code, error.code) in ends, words, str(error))
            body |= error.body
        else:
            raise StoryFailed(f"expected {words}; saw a success")

    def processes(self, session: Session) -> list[Process]:
        """What runs for a session now, the agent's leader first."""
        return processes.of(session.session_id)

    def kill_agent(self, session: Session) -> None:
        """Kills the leader of a session's agent; it is gone, and reaped, when this returns."""
        found = self.processes(session)
        expect(bool(found), "a process that runs for the session", found)
        found[0].kill()
        self.until(found[0].is_gone, f"the agent's process {found[0].pid} to end")

    def until(self, holds: Callable[[], bool], what: str) -> None:
        """Waits for what happens in another process and tells nobody."""
        deadline = time.monotonic() + PATIENCE_S
        while not holds():
            expect(time.monotonic() < deadline, what, f"nothing, for {PATIENCE_S:g} s")
            time.sleep(0.01)

    def forget(self) -> None:
        """Closes the shared sessions: after a story that failed, they may be in any state."""
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            session.close()

    def close(self) -> None:
        """Ends all that stories have left open."""
        self.forget()
