"""One prompt and its answer, as commands wait for it: with a glance at what goes on, on a terminal, and Ctrl-C.

Ctrl-C cancels on the gateway what was asked for, and ends the command with 130.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, TypeVar

from clawdforge.cli import terminal
from clawdforge.cli.failures import Interrupted, NoAnswer
from clawdforge.cli.following import Following, S, Stream
from clawdforge.cli.watching import Quiet, View, Watched, watch

R = TypeVar("R", bound="Answer")
R_co = TypeVar("R_co", bound="Answer", covariant=True)


class Answer(Protocol):
    """What a run and a turn have in common."""

    @property
    def ok(self) -> bool: ...
    @property
    def stop_reason(self) -> str: ...
    @property
    def schema_valid(self) -> bool | None: ...
    @property
    def schema_errors(self) -> list[str] | None: ...


class AnswerStream(Stream, Protocol[R_co]):
    """A stream that ends with an answer."""

    def result(self) -> R_co: ...


def answer(open_stream: Callable[[], AnswerStream[R]], label: str) -> R:
    """Waits for an answer.

    Args:
        open_stream: asks. Called in another thread.
        label: what is waited for, for a person.

    Raises:
        Interrupted: by Ctrl-C.
        ForgeError: the SDK's, as its `result()` raises them.
    """
    with Following(open_stream) as following, _view(label) as view:
        watched = watch(following, view)
    return ended(watched).result()


def ended(watched: Watched[S]) -> S:
    """The stream, once it was watched to its end.

    Raises:
        Interrupted: by Ctrl-C.
        BaseException: what the stream raised.
    """
    if watched.ended is None:
        raise Interrupted()
    if watched.cancelled:
        raise Interrupted("interrupted; what the gateway was asked to do has ended there, too")
    if watched.ended.error is not None:
        raise watched.ended.error
    assert watched.ended.stream is not None  # there is nothing else that it could be
    return watched.ended.stream


def end_unless_answered(result: Answer) -> None:
    """Ends the command with 6 where an answer came that answers nothing.

    Raises:
        NoAnswer: it is not `ok`, or does not fit its schema.
    """
    if not result.ok:
        raise NoAnswer(f"the agent gave no answer (stop_reason {result.stop_reason})")
    if result.schema_valid is False:
        errors = "; ".join(map(str, result.schema_errors or ["no reason given"]))
        raise NoAnswer(f"the result does not fit the schema: {errors}")


def _view(label: str) -> AbstractContextManager[View]:
    if not terminal.can_be_drawn_on(sys.stderr):
        return nullcontext(Quiet())
    from clawdforge.cli.narration import Narration
    from clawdforge.cli.screen import Screen

    return Screen(terminal.console(stderr=True), Narration(), label, glance=True)
