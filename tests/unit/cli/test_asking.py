"""Questions of an agent: which key means which of the options that it offers."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from clawdforge.cli import asking, keyboard, terminal
from clawdforge.cli.following import CtrlC, Following
from clawdforge.cli.narration import Narration
from clawdforge.cli.screen import Screen
from clawdforge.client.events import Event, PermissionRequestEvent
from clawdforge.errors import ForgeError
from clawdforge.wire.permissions import PermissionOption
from unit.cli.happening import option, request


def options(*kinds: str) -> list[PermissionOption]:
    return [PermissionOption(f"id{number}", f"Name {number}", kind) for number, kind in enumerate(kinds)]


def chosen(*kinds: str) -> dict[str, str]:
    return {key: each.option_id for key, each in asking.keys(options(*kinds)).items()}


def test_an_option_has_its_number_and_the_letter_of_what_it_means() -> None:
    assert chosen("allow_always", "allow_once", "reject_once", "reject_always") == {
        **{"1": "id0", "2": "id1", "3": "id2", "4": "id3"},
        **{"y": "id1", "a": "id0", "n": "id2"},
    }


def test_a_letter_means_the_first_of_its_kind_and_nothing_where_there_is_none() -> None:
    assert chosen("allow_once", "allow_once", "other") == {"1": "id0", "2": "id1", "3": "id2", "y": "id0"}
    assert chosen() == {}


def test_no_option_takes_a_letter_that_means_something() -> None:
    found = chosen(*["other"] * 50, "reject_once")

    assert found.keys() & {"y", "a", "n"} == {"n"}
    assert found["n"] == "id50"


class Asks:
    """The stream of a turn that asks, and goes on until it `may_end`."""

    def __init__(self, late: bool = False) -> None:
        self.late = late
        self.answered: list[str] = []
        self.may_end = threading.Event()

    def __iter__(self) -> Iterator[Event]:
        yield request("allow_once", "reject_once")
        assert self.may_end.wait(30)

    def answer(self, permission_id: str, *, option_id: str) -> None:
        if self.late:
            raise ForgeError("it was answered by somebody else")
        self.answered.append(option_id)

    def cancel(self) -> bool:
        return True

    def close(self) -> None:
        """Nothing is held."""


def put(stream: Asks) -> tuple[bool, object]:
    """Puts what it asks: whether the turn goes on, and what has come of it meanwhile."""
    with Following(lambda: stream) as following:
        about = following.take(30)
        assert isinstance(about, PermissionRequestEvent)
        console, narration = terminal.console(), Narration()
        with Screen(console, narration, "it works") as screen:
            narration.take(about)
            goes_on = asking.Asking(console, narration, screen, following)(about)
        then = following.take(0)
        stream.may_end.set()
        return goes_on, then


Choose = Callable[[Callable[[], None], object, Callable[[], bool]], str | None]


def choosing(monkeypatch: pytest.MonkeyPatch, choose: Choose) -> None:
    monkeypatch.setattr(keyboard, "choose", choose)


def test_the_option_of_the_key_is_the_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    choosing(monkeypatch, lambda *_: "n")
    stream = Asks()

    assert put(stream)[0]
    assert stream.answered == ["id-reject_once"]
    assert put(Asks(late=True))[0]
    assert "Your answer did not count: it was answered by somebody else" in capsys.readouterr().out


def test_no_answer_cancels_the_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    choosing(monkeypatch, lambda *_: None)

    assert put(Asks()) == (False, None)


def test_a_question_is_no_more_once_ctrl_c_was_pressed(monkeypatch: pytest.MonkeyPatch) -> None:
    def press_ctrl_c(question: Callable[[], None], _: object, is_over: Callable[[], bool]) -> None:
        assert not is_over()
        os.kill(os.getpid(), signal.SIGINT)
        deadline = time.monotonic() + 30
        while not is_over():
            assert time.monotonic() < deadline

    choosing(monkeypatch, press_ctrl_c)
    goes_on, then = put(Asks())

    assert goes_on
    assert isinstance(then, CtrlC), "whoever watches cancels the turn then"


def test_a_question_cannot_steer_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def press_y(question: Callable[[], None], *_: object) -> str:
        question()
        return "y"

    monkeypatch.setattr(keyboard, "choose", press_y)
    evil = "\x1b]0;x\x07\x9b2J"
    about = request(options=[option("allow_once", evil)])
    assert isinstance(about, PermissionRequestEvent)

    assert asking.ask(terminal.console(), about, f"edit {evil}", lambda: False) == "id-allow_once"

    shown = capsys.readouterr().out
    assert shown.startswith("? edit ␛]0;x␇")
    assert not set("\x1b\x07\x9b") & set(shown)
