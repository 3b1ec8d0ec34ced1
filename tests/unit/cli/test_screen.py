"""What is drawn while a turn goes on: it fits, and what is left in the end is what was said, once."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from clawdforge.cli import screen, terminal
from clawdforge.cli.narration import Narration
from clawdforge.cli.screen import Screen
from clawdforge.client.events import Event
from harness.terminal import drawn
from unit.cli.happening import event, printed, tool

WIDTH, HEIGHT = 40, 12


@pytest.fixture(autouse=True)
def always_due(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each event is drawn, which is the worst that can happen."""
    monkeypatch.setattr(screen, "_REDRAW_S", 1e-9)


def a_terminal(term: str = "xterm-256color") -> Console:
    console = terminal.console()
    console.file = io.StringIO()
    console._force_terminal = True
    console.is_interactive = term != "dumb"
    console._environ = {"TERM": term}
    console.width, console.height = WIDTH, HEIGHT
    return console


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().replace("\n", "\r\n")  # as a terminal's driver does


def left(happened: list[Event], *, glance: bool = False) -> str:
    """What stands on the terminal when a turn is over."""
    console = a_terminal()
    with Screen(console, Narration(), "it works", glance=glance) as shown:
        for each in happened:
            shown.take(each)
            shown.tick()
    return "\n".join(drawn(written(console), WIDTH)).strip("\n")


def said(happened: list[Event]) -> str:
    narration = Narration()
    for each in happened:
        narration.take(each)
    narration.finish()
    return printed(*narration.drain(), width=WIDTH).strip("\n")


WORDS = st.sampled_from(["word ", "\n", "\n\n", "- ", "# ", "```\n", "|a|b|\n|-|-|\n", "é", "**b** ", "x" * 50])
HAPPENED = st.lists(
    st.one_of(
        WORDS.map(lambda text: event("text", content=text)),
        st.just(event("thinking", content="hm ")),
        st.sampled_from(["pending", "completed", "failed"]).map(tool),
        st.just(event("tool_call_update", id="call-1", status="completed", result="done")),
        st.just(event("plan", entries=[{"content": f"step {number}"} for number in range(5)])),
    ),
    max_size=30,
)


@settings(max_examples=60)
@given(HAPPENED)
def test_what_is_left_is_what_was_said_once(happened: list[Event]) -> None:
    assert left(happened) == said(happened)


@settings(max_examples=20)
@given(HAPPENED)
def test_of_a_glance_nothing_is_left(happened: list[Event]) -> None:
    assert left(happened, glance=True) == ""


def test_what_is_drawn_never_exceeds_the_terminal() -> None:
    console = a_terminal()
    with Screen(console, Narration(), "it works") as shown:
        for number in range(200):
            shown.take(event("text", content=f"line {number} of a paragraph\n"))
        assert max(map(int, re.findall(r"\x1b\[(\d+)A", written(console))), default=1) < HEIGHT
        assert written(console).count("\x1b[1A") <= 201 * HEIGHT
    assert "line 199" in left([event("text", content="line 199")])


def test_the_foot_says_what_is_waited_for_and_that_it_is_cancelled() -> None:
    console = a_terminal()
    with Screen(console, Narration(), "it\x1bworks") as shown:
        shown.note("by the way")
        shown.cancelling()
    assert "it␛works · 0.0 s" in written(console)
    assert "cancelling (Ctrl-C leaves it to" in written(console)
    assert drawn(written(console), WIDTH)[0] == "by the way"


def test_while_somebody_is_asked_nothing_else_is_drawn() -> None:
    console = a_terminal()
    with Screen(console, Narration(), "it works") as shown:
        shown.take(event("text", content="before\n\n"))
        with shown.away():
            so_far = drawn(written(console), WIDTH)
            console.print("a question")
        shown.take(event("text", content="after"))

    assert [line for line in so_far if line] == ["before"]
    assert [line for line in drawn(written(console), WIDTH) if line] == ["before", "a question", "after"]


def test_a_dumb_terminal_gets_what_is_said_and_no_orders() -> None:
    console = a_terminal("dumb")
    with Screen(console, Narration(), "it works") as shown:
        shown.take(event("text", content="one\n\ntwo"))
        shown.tick()

    assert written(console).split() == ["one", "two"]
