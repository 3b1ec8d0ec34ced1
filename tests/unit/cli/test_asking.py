"""Questions of an agent: which key means which of the options that it offers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from clawdforge.cli import asking, keyboard, terminal
from clawdforge.client.events import PermissionRequestEvent
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
