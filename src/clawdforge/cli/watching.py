"""A turn or a run, watched from its prompt to its end: Ctrl-C cancels it, and what it asks is put to a person.

How that looks is the view's matter. Loads nothing of rich.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeAlias

from clawdforge.cli import terminal
from clawdforge.cli.following import CancelFailed, CtrlC, Ended, Following, S, Warned
from clawdforge.client.events import Event, PermissionRequestEvent

WAIT_S: Final = 0.1
"""How often a view is told that nothing came."""

PERSONS_SECS: Final = 3_600
"""How long a question waits for whoever sits at the terminal, and may be at lunch."""

_BEGIN_S: Final = 2.0
"""How long a turn that is to be cancelled, and of which nothing has come, is waited for. Then it is left."""

Ask: TypeAlias = Callable[[PermissionRequestEvent], bool]
"""Has a person answer a request; False where the turn shall be cancelled instead."""


class View(Protocol):
    """What shows a turn while it goes on."""

    def take(self, event: Event) -> None:
        """The turn goes on with this event."""

    def tick(self) -> None:
        """Time goes by."""

    def note(self, text: str) -> None:
        """Something to be said about the turn."""

    def cancelling(self) -> None:
        """The turn is being cancelled."""


class Quiet:
    """The view of those that have no terminal: the end will say it all."""

    def take(self, event: Event) -> None:
        """Not shown."""

    def tick(self) -> None:
        """Not shown."""

    def note(self, text: str) -> None:
        terminal.note(text)

    def cancelling(self) -> None:
        """Not shown: the command says how it ended."""


@dataclass(frozen=True, slots=True)
class Watched(Generic[S]):
    """How watching ended.

    Attributes:
        ended: how the stream did; None where it was left, and the turn goes on.
        cancelled: whether whoever watched wanted it cancelled.
    """

    ended: Ended[S] | None
    cancelled: bool


def watch(following: Following[S], view: View, ask: Ask | None = None) -> Watched[S]:
    """Watches a stream to its end. The first Ctrl-C has the turn cancelled, the second leaves it to itself.

    Args:
        following: the stream, which is being followed.
        view: shown to.
        ask: puts requests that wait for an answer to a person. None: they are left to others, and to their expiry.
    """
    cancelled, waited_s, warned = False, 0.0, False
    while True:
        item = following.take(WAIT_S)
        if isinstance(item, Ended):
            return Watched(item, cancelled)
        if item is None:
            view.tick()
            waited_s += WAIT_S if cancelled and not following.begun else 0
            if waited_s > _BEGIN_S:
                return Watched(None, cancelled)
        elif isinstance(item, Warned):
            if not warned:  # once for all that is tried until something comes again
                view.note(f"{item.text[:1].upper()}{item.text[1:]}")
            warned = True
        elif isinstance(item, CancelFailed):
            view.note(f"It could not be cancelled: {item.error}")
        elif isinstance(item, CtrlC) and cancelled:
            return Watched(None, cancelled)
        elif isinstance(item, CtrlC) or not _take(item, view, ask):
            cancelled = True
            following.cancel()
            view.cancelling()
        else:
            warned = False


def _take(event: Event, view: View, ask: Ask | None) -> bool:
    """Shows an event. False where somebody was asked, and wants the turn cancelled."""
    view.take(event)
    if not isinstance(event, PermissionRequestEvent) or event.expires_at is None:
        return True
    if ask is None:
        view.note(f"It asks, and waits for an answer (clawdforge session answer): {event.kind} {event.title}")
        return True
    return ask(event)
