"""A stream read in a thread: all that comes is in one line with Ctrl-C, and nothing is lost or waits for ever."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from clawdforge.cli import watching
from clawdforge.cli.following import _AHEAD, Ended, Following
from clawdforge.client.events import Event, PermissionRequestEvent
from clawdforge.errors import ForgeError
from unit.cli.happening import event, request

PATIENCE_S = 30


class Stage:
    """A stream that a test directs."""

    def __init__(self, *happened: Event, fails: BaseException | None = None, goes_on: bool = False) -> None:
        self.happened = happened
        self.fails = fails
        self.read = 0
        self.may_end = threading.Event()
        self.cancelled = threading.Event()
        self.closed = threading.Event()
        self.cancel_fails: ForgeError | None = None
        if not goes_on:
            self.may_end.set()

    def __iter__(self) -> Iterator[Event]:
        for each in self.happened:
            self.read += 1
            yield each
        assert self.may_end.wait(PATIENCE_S)
        if self.fails is not None:
            raise self.fails

    def answer(self, permission_id: str, *, option_id: str) -> None:
        self.answered = (permission_id, option_id)

    def cancel(self) -> bool:
        if self.cancel_fails is not None:
            raise self.cancel_fails
        self.cancelled.set()
        self.may_end.set()
        return True

    def close(self) -> None:
        self.closed.set()


class Seen:
    """A view that remembers."""

    def __init__(self) -> None:
        self.all: list[Any] = []
        self.ticked = threading.Event()

    def take(self, event: Event) -> None:
        self.all.append(event.type)

    def tick(self) -> None:
        self.ticked.set()

    def note(self, text: str) -> None:
        self.all.append(text)

    def cancelling(self) -> None:
        self.all.append("cancelling")


def watch(
    open_stream: Callable[[], Stage], seen: Seen, ask: watching.Ask | None = None
) -> watching.Watched[Stage]:
    with Following(open_stream) as following:
        return watching.watch(following, seen, ask)


def press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_what_comes_is_taken_in_order_and_then_the_end() -> None:
    stage = Stage(*(event("text", content=str(number)) for number in range(3)))
    with Following(lambda: stage) as following:
        taken = [following.take(PATIENCE_S) for _ in range(4)]

    assert taken[:3] == list(stage.happened)
    assert taken[3] == Ended(stage)


def test_what_goes_wrong_is_the_end() -> None:
    for error in (ForgeError("x"), ValueError("y"), ZeroDivisionError()):

        def fail(error: Exception = error) -> Stage:
            raise error

        with Following(fail) as following:
            assert following.take(PATIENCE_S) == Ended(error=error)
        with Following(lambda error=error: Stage(fails=error)) as following:  # type: ignore[misc]
            assert following.take(PATIENCE_S) == Ended(error=error)


def test_no_more_is_read_than_is_looked_at() -> None:
    stage = Stage(*[event("text", content="x")] * (3 * _AHEAD))
    with Following(lambda: stage) as following:
        assert following.take(PATIENCE_S)
        for _ in range(10):
            assert stage.read <= _AHEAD + 3
            assert following.take(PATIENCE_S)


def test_one_that_is_left_is_closed_with_the_next_event() -> None:
    stage = Stage(*[event("text", content="x")] * (3 * _AHEAD))
    with Following(lambda: stage) as following:
        assert following.take(PATIENCE_S)

    assert stage.closed.wait(PATIENCE_S)
    assert not stage.cancelled.is_set()


def test_what_waits_can_be_looked_for() -> None:
    stage = Stage(event("text", content="a"), event("mode", mode="b"))
    with Following(lambda: stage) as following:
        while not following.has(lambda item: isinstance(item, Ended)):
            stage.closed.wait(0.01)  # which it never is: read to its end, it has let go by itself

        assert [following.take(0) for _ in range(4)] == [*stage.happened, Ended(stage), None]


def test_what_has_come_can_be_answered() -> None:
    stage = Stage(request("allow_once"))
    with Following(lambda: stage) as following:
        assert following.take(PATIENCE_S) == stage.happened[0]
        following.answer("perm_1", "id-allow_once")

    assert stage.answered == ("perm_1", "id-allow_once")


def test_of_a_connection_that_is_made_anew_one_word_is_said() -> None:
    class Cut(Stage):
        def __iter__(self) -> Iterator[Event]:
            for each in self.happened:
                for again in range(3):
                    logging.getLogger("clawdforge").warning("it was cut %d", again)
                logging.getLogger("clawdforge").info("no matter")
                yield each

    stage, seen = Cut(event("text", content="a"), event("mode", mode="b")), Seen()

    watch(lambda: stage, seen)

    assert seen.all == ["It was cut 0", "text", "It was cut 0", "mode"]


def test_a_turn_is_watched_to_its_end() -> None:
    stage, seen = Stage(event("text", content="a"), event("turn_end", stop_reason="end_turn", ok=True)), Seen()

    watched = watch(lambda: stage, seen)

    assert watched == watching.Watched(Ended(stage), False)
    assert seen.all == ["text", "turn_end"]


def test_while_nothing_comes_time_goes_by() -> None:
    stage, seen = Stage(goes_on=True), Seen()
    seen.tick = stage.may_end.set  # type: ignore[method-assign]

    assert watch(lambda: stage, seen).ended == Ended(stage)


def test_ctrl_c_cancels_the_turn_and_goes_on_watching() -> None:
    stage, seen = Stage(event("text", content="a"), goes_on=True), Seen()
    seen.take = lambda _: press_ctrl_c()  # type: ignore[method-assign]

    watched = watch(lambda: stage, seen)

    assert watched == watching.Watched(Ended(stage), True)
    assert stage.cancelled.is_set()
    assert seen.all == ["cancelling"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_ahead_of_the_first_event_counts_too() -> None:
    may_open = threading.Event()
    stage, seen = Stage(event("text", content="a"), goes_on=True), Seen()

    def open_late() -> Stage:
        assert may_open.wait(PATIENCE_S)
        return stage

    pressed = iter([press_ctrl_c])
    seen.tick = lambda: next(pressed, may_open.set)()  # type: ignore[method-assign]
    watched = watch(open_late, seen)

    assert watched.cancelled
    assert stage.cancelled.is_set()


def test_a_turn_of_which_nothing_comes_is_left_some_time_after_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "_BEGIN_S", 0.0)
    stage, seen = Stage(goes_on=True), Seen()
    pressed = iter([press_ctrl_c])
    seen.tick = lambda: next(pressed, lambda: None)()  # type: ignore[method-assign]

    watched = watch(lambda: stage, seen)
    stage.may_end.set()

    assert watched == watching.Watched(None, True)


def test_the_second_ctrl_c_leaves_the_turn_to_itself() -> None:
    stage, seen = Stage(event("text", content="a"), goes_on=True), Seen()
    stage.cancel_fails = ForgeError("not now")
    seen.take = lambda _: press_ctrl_c()  # type: ignore[method-assign]

    def note(text: str) -> None:
        seen.all.append(text)
        press_ctrl_c()

    seen.note = note  # type: ignore[method-assign]
    watched = watch(lambda: stage, seen)
    stage.may_end.set()

    assert watched == watching.Watched(None, True)
    assert seen.all == ["cancelling", "It could not be cancelled: not now"]


def test_what_waits_for_an_answer_is_asked_and_what_does_not_is_shown() -> None:
    stage, seen = Stage(request("allow_once"), request(expires_at=None)), Seen()
    asked: list[PermissionRequestEvent] = []

    def ask(about: PermissionRequestEvent) -> bool:
        asked.append(about)
        return True

    watched = watch(lambda: stage, seen, ask)

    assert not watched.cancelled
    assert asked == [stage.happened[0]]
    assert seen.all == ["permission_request"] * 2


def test_where_nobody_can_be_asked_it_is_said_that_it_waits() -> None:
    stage, seen = Stage(request("allow_once"), request(expires_at=None)), Seen()

    assert not watch(lambda: stage, seen).cancelled
    assert seen.all[1] == "It asks, and waits for an answer (clawdforge session answer): edit Write a.txt"
    assert len(seen.all) == 3


def test_who_is_asked_may_want_the_turn_cancelled() -> None:
    stage = Stage(request("allow_once"), goes_on=True)

    assert watch(lambda: stage, Seen(), lambda _: False).cancelled
    assert stage.cancelled.is_set()


def test_without_a_terminal_only_what_went_wrong_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    quiet = watching.Quiet()
    quiet.take(event("text", content="a"))
    quiet.tick()
    quiet.cancelling()
    quiet.note("could not")

    assert capsys.readouterr() == ("", "could not\n")
