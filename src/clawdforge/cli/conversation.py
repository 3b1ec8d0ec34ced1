"""A conversation on a terminal: prompts are typed, turns are watched, and what the agent asks is asked.

Loads rich. What begins with a slash is the business of `slash`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.text import Text

from clawdforge.cli import failures, keyboard, terminal
from clawdforge.cli.asking import Asking
from clawdforge.cli.blocks import Blocks
from clawdforge.cli.following import Following
from clawdforge.cli.markdown import Prose
from clawdforge.cli.narration import Narration
from clawdforge.cli.screen import Screen
from clawdforge.cli.slash import Slash, Wrong
from clawdforge.cli.summary import answer_text
from clawdforge.cli.watching import PERSONS_SECS, watch
from clawdforge.errors import ForgeError

if TYPE_CHECKING:
    from clawdforge.cli.talk import Talk

_SIGN: Final = "› "
_RECALLED_BLOCKS: Final = 6


class Conversation:
    """See the module."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self._console = terminal.console()
        self._slash = Slash(self._console, talk)

    def go(self) -> None:
        """Talks until Ctrl-D, `/exit`, or Ctrl-C twice."""
        self._greet()
        pressed = False
        with keyboard.history(_history_file(), self._slash.completed):
            while not self._talk.left:
                try:
                    line = keyboard.read_prompt(_SIGN).strip()
                except EOFError:
                    self._console.print()
                    return
                except KeyboardInterrupt:
                    self._console.print()
                    if pressed:
                        return
                    pressed = True
                    self._note("Ctrl-C once more leaves, as Ctrl-D does.")
                else:
                    pressed = False
                    with self._saying_what_fails():
                        if line and (prompt := self._slash.prompt_in(line)):
                            self._turn(prompt)

    def _greet(self) -> None:
        session = self._talk.session
        self._note(f"{session.agent} · {session.session_id} · /help lists commands, Ctrl-D leaves")
        if not self._talk.is_new:
            with self._saying_what_fails():
                self._recall()

    def _recall(self) -> None:
        """The end of the last answer, for whoever comes back."""
        last = next(self._talk.session.turns(), None)
        if last is None:
            return
        record, blocks = self._talk.session.get_turn(last["turn_index"]), Blocks()
        self._note(f"turn {last['turn_index']}, {last['status']}:")
        for block in [*blocks.add(answer_text(record)), *blocks.finish()][-_RECALLED_BLOCKS:]:
            self._console.print(Prose(block.text))

    def _turn(self, prompt: str) -> None:
        """Sends a prompt and watches what comes of it."""
        talk, files = self._talk, list(self._talk.files)
        narration = Narration(talk.session.agent_cwd)
        screen = Screen(self._console, narration, f"{talk.session.agent} works, Ctrl-C cancels")
        following = Following(
            lambda: talk.session.stream(
                prompt, files or None, delivery="queue", permission_timeout_secs=PERSONS_SECS
            )
        )
        talk.talked = True
        with following, keyboard.silent(), screen:
            watched = watch(following, screen, Asking(self._console, narration, screen, following))
        if watched.ended is not None and watched.ended.error is not None:
            raise watched.ended.error
        talk.files.clear()
        if watched.ended is None:
            self._note("The turn goes on; /cancel ends it.")
        self._console.print()

    @contextmanager
    def _saying_what_fails(self) -> Iterator[None]:
        """The conversation goes on, whatever the gateway says, and after a Ctrl-C."""
        try:
            yield
        except Wrong as error:
            self._note(str(error))
        except (ForgeError, ValueError) as error:
            failure = failures.from_error(error, self._talk.forge.base_url)
            self._console.print(Text(terminal.printable(f"✗ {failure.message}"), "red"))
            if failure.hint:
                self._note(failure.hint)
        except KeyboardInterrupt:
            self._note("Interrupted.")

    def _note(self, text: str) -> None:
        self._console.print(Text(terminal.printable(text), "dim"))


def _history_file() -> Path:
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(base).expanduser() / "clawdforge" / "history"
