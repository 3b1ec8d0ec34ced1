"""A conversation without a terminal: each line of stdin is a prompt, and its answer goes to stdout as it comes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TextIO

from clawdforge.cli import terminal
from clawdforge.cli.asked import end_unless_answered, ended
from clawdforge.cli.following import Following
from clawdforge.cli.watching import Quiet, watch
from clawdforge.client.events import Event, PermissionRequestEvent, TextEvent
from clawdforge.errors import ForgeConflictError
from clawdforge.wire import codec

if TYPE_CHECKING:
    from clawdforge.cli.talk import Talk


class Dictation:
    """See the module."""

    def __init__(self, talk: Talk, lines: TextIO, *, as_json: bool) -> None:
        self._talk = talk
        self._lines = lines
        self._as_json = as_json

    def go(self) -> None:
        """Takes all prompts, each when the one before is answered.

        Raises:
            Failure: a turn gave no answer; nothing more is read.
            ForgeError: one failed.
        """
        for line in self._lines:
            if prompt := line.strip():
                self._turn(prompt)

    def _turn(self, prompt: str) -> None:
        self._talk.talked = True
        view = Quiet() if self._as_json else _Printed()
        with Following(lambda: self._talk.session.stream(prompt)) as following:
            watched = watch(following, view, self._refuse)
        if isinstance(view, _Printed):
            view.end()
        result = ended(watched).result()
        if self._as_json:
            terminal.emit(codec.to_json(result))
        end_unless_answered(result)

    def _refuse(self, request: PermissionRequestEvent) -> bool:
        """Nobody can be asked, and the agent shall not wait for them."""
        terminal.note(f"Refused, for nobody can be asked here: {request.kind} {request.title}")
        try:
            self._talk.session.answer(request.permission_id, "reject")
        except ForgeConflictError:
            """Somebody else was asked, and has answered."""
        return True


class _Printed(Quiet):
    """Shows the answer's text as it comes."""

    def __init__(self) -> None:
        self._ends_with_newline = True

    def take(self, event: Event) -> None:
        if isinstance(event, TextEvent):
            # To a terminal, which stdout may be, nothing is printed that could steer it.
            print(terminal.printable(event.content) if sys.stdout.isatty() else event.content, end="", flush=True)
            self._ends_with_newline = event.content.endswith("\n")

    def end(self) -> None:
        """The answer is over, and so is its last line."""
        if not self._ends_with_newline:
            print(flush=True)
