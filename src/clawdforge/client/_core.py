"""What all calls of one Forge have in common: its settings, and what it knows of its gateway.

Time, chance and names are given from outside. Must do no I/O.
"""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final, NoReturn

from clawdforge.client import _call
from clawdforge.client._api import Reply
from clawdforge.client._config import Config
from clawdforge.client._steps import Fault

_LEAST_S: Final = 0.001


class Here:
    """What has its place in this process. All that an app holds holds such things, answers and events aside."""

    __slots__ = ()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Forge and what comes of it cannot be pickled or copied: make one where it is used")


@dataclass(slots=True)
class Gateway:
    """What was learnt of the gateway. Set by any thread; once true it stays so.

    Attributes:
        honours_keys: it does nothing twice that comes with the same `Idempotency-Key`.
    """

    honours_keys: bool = False


@dataclass(frozen=True, slots=True)
class Core(Here):
    """Settings, checked. Forges made by `with_options` share their `gateway`.

    Attributes:
        margin_s: how long after a call's own deadline its HTTP answer may come.
        retries: how often a call may be tried again.
        timeout_secs: the deadline of turns that name none.
        model: the model of runs that name none.
        clock: seconds that only go forward.
        new_key: a name that nobody else chooses.
        jitter: 0 to 1, by chance.
    """

    config: Config
    margin_s: float = 30
    retries: int = 2
    timeout_secs: int = 120
    model: str | None = None
    gateway: Gateway = field(default_factory=Gateway)
    clock: Callable[[], float] = time.monotonic
    new_key: Callable[[], str] = lambda: secrets.token_hex(16)
    jitter: Callable[[], float] = random.random

    def __post_init__(self) -> None:
        _call.checked_timeout(self.timeout_secs)
        if not 0 <= self.margin_s <= _call.LONGEST_S:
            raise ValueError(f"http_timeout_margin must be 0 to {_call.LONGEST_S} seconds")
        if isinstance(self.retries, bool) or not isinstance(self.retries, int) or self.retries < 0:
            raise ValueError("retries is a number of tries, 0 or more")

    def with_options(self, timeout_secs: float | None, retries: int | None) -> Core:
        """The same, where these are not None with them."""
        changed: dict[str, Any] = {}
        if timeout_secs is not None:
            changed["timeout_secs"] = _call.checked_timeout(timeout_secs)
        if retries is not None:
            changed["retries"] = retries
        return replace(self, **changed)

    def limit_secs(self, timeout_secs: float | None) -> int:
        """The deadline of a turn that is waited for."""
        return self.timeout_secs if timeout_secs is None else _call.checked_timeout(timeout_secs)

    def left_s(self, ends_s: float) -> float:
        """The time until then by the clock; when it is over just enough to take what is there already."""
        return max(_LEAST_S, ends_s - self.clock())

    def heard(self, answer: Reply | Fault) -> None:
        """Learns from an answer."""
        if isinstance(answer, Reply) and answer.headers.get("Idempotency-Supported") == "true":
            self.gateway.honours_keys = True
