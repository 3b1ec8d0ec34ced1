"""What a flow asks of its driver: the steps that touch the world, and what came of them.

A flow (`_flow`, `_streams`, …) is a generator: it yields steps, is sent what came of each, and returns its result.
A driver (`_requests`, `_httpx`) performs them, one after the other. So what to send, when to try again and where a
stream stands is written once, and tested without a network. Values only; nothing here does anything.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from clawdforge.client._call import Call

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Send:
    """Performs a call and reads its whole answer, within the time. Comes to a `Reply` or a `Fault`."""

    call: Call
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Open:
    """Performs a call. A success stays open, to be read piece by piece: a `Reply` without its body.

    Anything else comes to a whole `Reply`, or a `Fault`. The time is for all that is read here. One flow has one
    open answer at most; another `Open` lets go of the one before.
    """

    call: Call
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Read:
    """Reads what there is of the open answer. Comes to bytes, b"" at its end, or a `Fault`.

    Where no time is told, nothing may be silent for longer than what `Open` was given.
    """

    timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class Shut:
    """Lets go of the open answer. Where it ends within the time, its connection can be used again."""

    within_s: float = 0


@dataclass(frozen=True, slots=True)
class Sleep:
    """Waits."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Tell:
    """Calls a function of the app's. Comes to what it returned; the asynchronous driver awaits an awaitable."""

    callback: Callable[[Any], Any]
    value: Any


@dataclass(frozen=True, slots=True)
class Fault:
    """No answer came, or no more of it.

    Attributes:
        reason: what lies at the bottom of it, in words.
        sent: whether the gateway may have got the call; False only where it certainly has not.
        timed_out: whether the time was over.
        cause: the library's own exception, for a traceback.
    """

    reason: str
    sent: bool = True
    timed_out: bool = False
    cause: BaseException | None = field(default=None, repr=False, compare=False)


Step = Send | Open | Read | Shut | Sleep | Tell
Flow = Generator[Step, Any, T]
"""Yields steps and returns a `T`."""
Items = Generator[Step | list[T], Any, None]
"""Yields steps and, between them, lists of what its reader iterates over."""
