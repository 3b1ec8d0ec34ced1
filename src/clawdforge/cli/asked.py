"""One prompt and its answer, as commands wait for it: on a terminal with a glance at what goes on.

What the agent asks for is put to whoever sits there. Ctrl-C cancels on the gateway what was asked for, and ends
the command with 130.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Protocol, TypeVar

from clawdforge.cli import keyboard, terminal
from clawdforge.cli.failures import MAY_GO_ON, Interrupted, NoAnswer
from clawdforge.cli.following import Following, S, Stream
from clawdforge.cli.watching import PERSONS_SECS, Quiet, Watched, watch

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


def answer(open_stream: Callable[[], AnswerStream[R]], label: str, cwd: str | None = None) -> R:
    """Waits for an answer.

    Args:
        open_stream: asks. Called in another thread.
        label: what is waited for, for a person.
        cwd: the workspace as the agent sees it, where that is known.

    Raises:
        Interrupted: by Ctrl-C.
        ForgeError: the SDK's, as its `result()` raises them.
    """
    following = Following(open_stream)
    has_somebody = keyboard.has_somebody()
    if not has_somebody and not terminal.can_be_drawn_on(sys.stderr):
        with following:
            return ended(watch(following, Quiet())).result()
    from clawdforge.cli.asking import Asking
    from clawdforge.cli.narration import Narration
    from clawdforge.cli.screen import Screen

    console, narration = terminal.console(stderr=True), Narration(cwd)
    screen = Screen(console, narration, label, glance=True)
    ask = Asking(console, narration, screen, following) if has_somebody else None
    with following, screen:
        watched = watch(following, screen, ask)
    return ended(watched).result()


def deadlines(policy: str | None, timeout_secs: int | None, default_secs: int) -> dict[str, int | None]:
    """How long a turn may take, as options of the SDK: where a person decides, it takes as long as they do.

    Args:
        policy: what the agent may do unasked.
        timeout_secs: as it was typed.
        default_secs: where nothing was.
    """
    if policy == "ask" and keyboard.has_somebody():
        return {"timeout_secs": timeout_secs, "permission_timeout_secs": PERSONS_SECS}
    return {"timeout_secs": default_secs if timeout_secs is None else timeout_secs}


def ended(watched: Watched[S]) -> S:
    """The stream, once it was watched to its end.

    Raises:
        Interrupted: by Ctrl-C.
        BaseException: what the stream raised.
    """
    if watched.ended is None:
        raise Interrupted(MAY_GO_ON)
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
