"""One call as the modules beside this one see it: who asks, for what, and how it may be asked only once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar
from urllib.parse import unquote

from clawdforge.testing.fake_gateway import connection as http
from clawdforge.testing.fake_gateway.connection import Answer, Incoming
from clawdforge.testing.fake_gateway.prompt import Request
from clawdforge.testing.fake_gateway.state import App, State
from clawdforge.wire import codec
from clawdforge.wire.problems import Problem, invalid

Row = TypeVar("Row")
LIMITS: Final = range(1, 201)
_REPLAYED: Final = {"Idempotent-Replayed": "true"}


@dataclass(frozen=True, slots=True)
class Call:
    """One call. `app` is nobody where no app's token is asked for; `names` are the parts of its path."""

    state: State
    incoming: Incoming
    request_id: str
    caller: App | None
    names: Mapping[str, str] = field(default_factory=dict)

    @property
    def request(self) -> Request:
        """The request."""
        return self.incoming.request

    @property
    def app(self) -> App:
        """Who asks."""
        assert self.caller is not None
        return self.caller

    def name(self, of: str) -> str:
        """A part of the path, decoded."""
        return unquote(self.names[of])

    def query(self, *known: str) -> Query:
        """The query's parameters. Raises Problem `invalid` for one that the call does not have."""
        for name in self.request.query:
            if name not in known:
                detail = f"this call has no parameter of that name; it has: {', '.join(sorted(known)) or 'none'}"
                raise invalid(detail)
        return Query(self.request.query)

    def once(self, asked: dict[str, Any], work: Callable[[], Any]) -> Answer:
        """Does something once for the key of the call, if it has one, under the lock; answers with its value.

        Args:
            asked: what makes the call another one with the same key.
            work: does it, and returns the answer, a value of the contract.
        """
        with self.state.lock:
            claim = self.state.claim(self.app, self.request, asked)
            if claim.done is not None:
                return http.of(claim.done.answer, headers=replayed(True))
            answer = work()
            self.state.keep(claim, answer=answer)
            return http.of(answer)


@dataclass(frozen=True, slots=True)
class Query:
    """The parameters of a query, as strict as a gateway is."""

    values: Mapping[str, str]

    def integer(self, name: str, allowed: range) -> int | None:
        """An integer of a range; None where it is not given. Raises Problem `invalid`."""
        value = self.values.get(name)
        if value is None:
            return None
        if not (value.isascii() and value.isdigit() and len(value) < 20 and int(value) in allowed):
            raise invalid(f"{name} is an integer from {allowed.start} to {allowed.stop - 1}", name)
        return int(value)

    def boolean(self, name: str, *, default: bool) -> bool:
        """`true` or `false`. Raises Problem `invalid`."""
        value = self.values.get(name)
        if value is None:
            return default
        if value not in ("true", "false"):
            raise invalid(f"{name} is true or false", name)
        return value == "true"

    def page(
        self, rows: list[Row], place: Callable[[Row], str], limits: range = LIMITS, default: int | None = None
    ) -> tuple[list[Row], str | None]:
        """The rows of the page that `limit` and `cursor` name, and where the next one begins; None at the end.

        Args:
            rows: all of them, in their order.
            place: what the cursor says of a row.
            limits: how long a page may be.
            default: how long it is without `limit`; None: all of them.
        """
        cursor = self.values.get("cursor")
        if cursor is not None:
            places = [place(each) for each in rows]
            if cursor not in places:
                raise invalid("the cursor is not one that this list has answered", "cursor")
            rows = rows[places.index(cursor) + 1 :]
        limit = self.integer("limit", limits) or default
        if limit is None or len(rows) <= limit:
            return rows, None
        return rows[:limit], place(rows[limit - 1])


def given(asked: Any) -> dict[str, Any]:
    """A body as its key knows it: a field that is null is one that is not there."""
    return {name: value for name, value in codec.to_json(asked).items() if value is not None}


def replayed(was: bool) -> dict[str, str]:
    """The headers of an answer that was given before, if it was."""
    return dict(_REPLAYED) if was else {}


def closed() -> Problem:
    """A session takes no more turns."""
    return Problem("session_closed", "this session is closed: open a new one")
