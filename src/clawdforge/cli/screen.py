"""What goes on, at the foot of a terminal: drawn again while it changes, gone when it is over.

What is said for good goes above it, once, and scrolls as all else does. Where the terminal cannot be drawn on
(`TERM=dumb`), only that is printed. Loads rich.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from clawdforge.cli import terminal
from clawdforge.cli.narration import Last, Narration
from clawdforge.cli.summary import seconds_text
from clawdforge.client.events import Event

_REDRAW_S: Final = 0.1
_FRAMES: Final = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_PLAIN_FRAMES: Final = "|/-\\"
_GLANCE_LINES: Final = 8
_KEPT_FREE: Final = 3  # lines of the terminal that are left to what was said before


class Screen:
    """Shows a narration while it goes on: a `View`, to be used in a `with` block.

    Args:
        console: where to.
        narration: of the turn.
        label: what is waited for.
        glance: shows only the last lines of it all, and leaves nothing of it.
    """

    def __init__(self, console: Console, narration: Narration, label: str, *, glance: bool = False) -> None:
        self._console = console
        self._narration = narration
        self._label = terminal.printable(label)
        self._glance = glance
        self._recent: deque[RenderableType] = deque(maxlen=_GLANCE_LINES)
        self._frames = _FRAMES if console.encoding.lower().startswith("utf") else _PLAIN_FRAMES
        self._began_s = time.monotonic()
        self._drawn_s = 0.0
        self._live = self._new_live()

    def __enter__(self) -> Self:
        self._live.start()
        self._draw()
        return self

    def __exit__(self, *_: object) -> None:
        self._narration.finish()
        self._rest()

    def take(self, event: Event) -> None:
        """The turn goes on with this event. It is drawn, but not so often that a person could not see it."""
        self._narration.take(event)
        if time.monotonic() - self._drawn_s >= _REDRAW_S:
            self._draw()

    def tick(self) -> None:
        """Time goes by."""
        self._draw()

    def note(self, text: str) -> None:
        """Something to be said about the turn."""
        self._narration.note(text)
        self._draw()

    def cancelling(self) -> None:
        """The turn is being cancelled."""
        self._label = "cancelling (Ctrl-C leaves it to itself)"
        self._draw()

    @contextmanager
    def away(self) -> Iterator[None]:
        """Takes what goes on off the terminal, for as long as somebody is asked something."""
        self._rest()
        try:
            yield
        finally:
            self._live = self._new_live()
            self._live.start()

    def _rest(self) -> None:
        self._say()
        self._live.update("", refresh=False)
        self._live.stop()

    def _draw(self) -> None:
        self._say()
        self._drawn_s = time.monotonic()
        if not self._console.is_dumb_terminal:
            lines = max(1, self._console.height - _KEPT_FREE)
            above = self._narration.live(min(lines, _GLANCE_LINES) if self._glance else lines)
            if self._glance:
                above = Last(Group(*self._recent, above), min(lines, _GLANCE_LINES))
            self._live.update(Group(above, self._foot()), refresh=True)

    def _foot(self) -> Text:
        elapsed_s = self._drawn_s - self._began_s
        frame = self._frames[int(elapsed_s / _REDRAW_S) % len(self._frames)]
        text = f"{frame} {self._label} · {seconds_text(int(elapsed_s * 1000))}"
        return Text(text, "dim", no_wrap=True, overflow="ellipsis")

    def _new_live(self) -> Live:
        return Live(console=self._console, auto_refresh=False, transient=True, vertical_overflow="crop")

    def _say(self) -> None:
        said = self._narration.drain()
        if self._glance:
            self._recent.extend(said)
        elif said:
            self._console.print(Group(*said))
