"""Drives the SDK's flows by hand: no network, no time; each step that touches the world gets a prepared answer."""

from __future__ import annotations

import itertools
import json
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from typing import Any

from requests.structures import CaseInsensitiveDict

from clawdforge.client._api import Reply
from clawdforge.client._config import Config
from clawdforge.client._core import Core, Gateway
from clawdforge.client._steps import Fault, Open, Read, Send, Shut, Sleep, Step, Tell

TOKEN = "cf_unit-test-token-0123456789"


@dataclass
class Played:
    """What a flow has yielded so far, and what it came to."""

    steps: list[Step] = field(default_factory=list)
    items: list[Any] = field(default_factory=list)
    result: Any = None

    @property
    def sent(self) -> list[str]:
        """The calls, as `POST /run`."""
        return [f"{each.call.method} {each.call.path}" for each in self.steps if isinstance(each, Send | Open)]

    @property
    def slept_s(self) -> list[float]:
        return [each.seconds for each in self.steps if isinstance(each, Sleep)]


class Clock:
    """Seconds that pass only when somebody sleeps, or says so."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def core(*, honours_keys: bool = True, clock: Clock | None = None, **settings: Any) -> Core:
    """Settings as of a Forge; keys are `key-1`, `key-2`, …, and nothing is left to chance."""
    keys = (f"key-{n}" for n in itertools.count(1))
    return Core(
        Config("http://gateway.test", TOKEN),
        gateway=Gateway(honours_keys),
        clock=clock or Clock(),
        new_key=lambda: next(keys),
        jitter=lambda: 0.0,
        **settings,
    )


def played(
    flow: Generator[Any, Any, Any],
    answers: Iterable[Any],
    *,
    clock: Clock | None = None,
    into: Played | None = None,
) -> Played:
    """Performs a flow to its end. `Send`, `Open` and `Read` come to the next answer, or `(seconds, answer)`.

    Raises what the flow raises; `into` then has what was yielded before.
    """
    record = Played() if into is None else into
    waiting = iter(answers)
    came: Any = None
    while True:
        try:
            step = flow.send(came)
        except StopIteration as end:
            record.result = end.value
            assert next(waiting, None) is None, "more was prepared than was asked for"
            return record
        came = None
        if isinstance(step, list):
            record.items += step
            continue
        record.steps.append(step)
        match step:
            case Send() | Open() | Read():
                came = next(waiting)
                if isinstance(came, tuple):
                    seconds, came = came
                    if clock is not None:
                        clock.now_s += seconds
            case Sleep():
                if clock is not None:
                    clock.now_s += step.seconds
            case Tell():
                came = step.callback(step.value)
            case Shut():
                pass


def reply(body: Any = None, status: int = 200, **headers: str) -> Reply:
    """An answer; header names are written with `_` for `-`."""
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    raw = body if isinstance(body, bytes) else json.dumps({} if body is None else body).encode()
    return Reply(status, CaseInsensitiveDict(told), raw)


def opened(**headers: str) -> Reply:
    """The head of a stream."""
    return reply(b"", Content_Type="text/event-stream", **headers)


REFUSED = Fault("Connection refused", sent=False)
CUT = Fault("Connection reset by peer")
LATE = Fault("no answer within 9 s", timed_out=True)
