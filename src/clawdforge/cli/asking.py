"""An agent asks whether it may use a tool, and whoever sits at the terminal presses a key. Loads rich."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from clawdforge.cli import keyboard, terminal
from clawdforge.cli.following import CtrlC, Ended, Following, Item
from clawdforge.cli.narration import Narration
from clawdforge.cli.screen import Screen
from clawdforge.cli.summary import one_line
from clawdforge.client.events import PermissionAnswerEvent, PermissionRequestEvent
from clawdforge.errors import ForgeError
from clawdforge.wire.permissions import PermissionOption

_LETTERS: Final = {"y": "allow_once", "a": "allow_always", "n": "reject_once"}
_KEYS: Final = "123456789bcdefghijklmopqrstuvwxz"


class Asking:
    """Has whoever sits at the terminal answer the requests of a turn: an `Ask` of `watching`.

    Args:
        console: where to.
        narration: of the turn: it knows what the requests are about.
        screen: what goes on, which makes room for a question.
        following: the turn's stream, by which it is answered.
    """

    def __init__(self, console: Console, narration: Narration, screen: Screen, following: Following[Any]) -> None:
        self._console = console
        self._narration = narration
        self._screen = screen
        self._following = following

    def __call__(self, request: PermissionRequestEvent) -> bool:
        """Puts a request. False where they want the turn cancelled."""

        def is_over() -> bool:
            return self._following.has(lambda item: _ends(item, request.permission_id))

        with self._screen.away():
            what = self._narration.ask(request)
            for thing in self._narration.drain():
                self._console.print(thing)
            option_id = ask(self._console, request, what, is_over)
            if option_id is None:
                return is_over()
            try:
                self._following.answer(request.permission_id, option_id)
            except ForgeError as error:
                self._console.print(Text(terminal.printable(f"Your answer did not count: {error}"), "dim"))
        return True


def ask(console: Console, request: PermissionRequestEvent, what: str, is_over: Callable[[], bool]) -> str | None:
    """Shows the request and waits for an answer.

    Args:
        console: where to.
        request: that of the agent.
        what: what it would do, for a person.
        is_over: asked now and then whether it was answered elsewhere, or waits no more.

    Returns:
        The id of the option that was chosen; None where none was.
    """
    answers = keys(request.options)

    def question() -> None:
        console.print(Text(f"? {one_line(terminal.printable(what))}", "bold yellow"))
        console.print(Text("  " + "   ".join(_told(request.options)) + "   Esc cancels the turn"))

    key = keyboard.choose(question, answers, is_over)
    if key is None:
        return None
    chosen = answers[key]
    console.print(Text(f"  → {terminal.printable(chosen.name)}", "dim"))
    return chosen.option_id


def keys(options: Sequence[PermissionOption]) -> Mapping[str, PermissionOption]:
    """The key of each option: its number, and `y`, `a`, `n` for the first that allows once, always, or rejects."""
    found = dict(zip(_KEYS, options, strict=False))
    for letter, kind in _LETTERS.items():
        for option in options:
            if option.kind == kind:
                found.setdefault(letter, option)
    return found


def _ends(item: Item[Any], permission_id: str) -> bool:
    """Whether a question is no more, once this has come."""
    return isinstance(item, Ended | CtrlC) or (
        isinstance(item, PermissionAnswerEvent) and item.permission_id == permission_id
    )


def _told(options: Sequence[PermissionOption]) -> list[str]:
    letters = {kind: letter for letter, kind in _LETTERS.items()}
    told = []
    for key, option in zip(_KEYS, options, strict=False):
        letter = letters.pop(option.kind, None)
        told.append(f"[{key}{f' {letter}' if letter else ''}] {terminal.printable(one_line(option.name))}")
    return told
