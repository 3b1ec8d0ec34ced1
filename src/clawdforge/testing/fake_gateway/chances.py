"""What happens once, to the next request that it is meant for: a refusal, another's answer, a cut connection.

Values; `gateway` has them happen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final

from clawdforge.testing.fake_gateway.connection import Answer, Incoming
from clawdforge.wire import problems
from clawdforge.wire.problems import Problem

PROMPTS: Final = ("POST /run", "POST /sessions/*/turn")
LASTING: Final = (*PROMPTS, "GET /sessions/*/events")


@dataclass(frozen=True, slots=True)
class Chance:
    """Meant for the requests whose `METHOD /path` is like one of these patterns."""

    at: tuple[str, ...]

    def __post_init__(self) -> None:
        for each in self.at:
            method, _, path = each.partition(" ")
            if not method.isupper() or not path.startswith("/"):
                raise ValueError(f"{each!r} is no 'METHOD /path', with * for any part of the path")

    def fits(self, incoming: Incoming) -> bool:
        """Whether it is meant for this request."""
        line = f"{incoming.request.method} {incoming.request.path}"
        return any(fnmatchcase(line, each) for each in self.at)


@dataclass(frozen=True, slots=True)
class Refusal(Chance):
    """The request is refused, and does nothing."""

    problem: Problem


@dataclass(frozen=True, slots=True)
class Reply(Chance):
    """Somebody else answers the request: a proxy, another server. The gateway hears nothing of it."""

    answer: Answer
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Drop(Chance):
    """The gateway does what is asked; its answer breaks off after so many bytes, or events of a stream."""

    after_bytes: int | None = None
    after_events: int | None = None

    def fits(self, incoming: Incoming) -> bool:
        """Whether it is meant for this request: what counts events, for streams alone."""
        is_one = self.after_events is None or incoming.wants_stream
        return is_one and Chance.fits(self, incoming)


def refused(code: str, detail: str | None, retry_after_s: int | None) -> Problem:
    """What a refusal says.

    Raises:
        ValueError: the contract has no such code.
    """
    if code not in problems.STATUS:
        raise ValueError(f"the contract has no code {code!r}; it has: {', '.join(problems.STATUS)}")
    told = detail or f"the fake gateway was told to refuse this: {code}"
    if code == "invalid":
        return Problem(code, told, errors=[{"loc": [], "message": told}])
    return Problem(code, told, retry_after_s=retry_after_s)
