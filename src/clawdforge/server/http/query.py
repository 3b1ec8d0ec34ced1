"""Query strings, as strict as bodies: no unknown names, no repeats, no guessing at values."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar
from urllib.parse import parse_qsl

from starlette.requests import Request

from clawdforge.wire.problems import Problem, invalid

LIMITS: Final = range(1, 201)
"""How many rows a page of a list may have."""

Row = TypeVar("Row")
Word = TypeVar("Word", bound=str)
_BOOLEANS: Final = {"true": True, "false": False}
_DIGITS_LIMIT: Final = 18


def read(request: Request, known: set[str]) -> dict[str, str]:
    """The parameters of a request.

    Raises:
        Problem: `invalid` for an unknown or repeated one; `bad_request` for text that is no UTF-8 or holds NUL.
    """
    try:
        # Starlette's own reading puts U+FFFD for what is no UTF-8, which a caller may also have written.
        text = request.scope["query_string"].decode()
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict")
    except UnicodeDecodeError as error:
        raise Problem("bad_request", "the query string is not UTF-8") from error
    found: dict[str, str] = {}
    for name, value in pairs:
        if name not in known:
            raise invalid(f"this call has no parameter of that name; it has: {', '.join(sorted(known)) or 'none'}")
        if name in found:
            raise invalid(f"{name} is given more than once", name)
        if "\0" in value:
            raise Problem("bad_request", f"{name} holds NUL")
        found[name] = value
    return found


def boolean(values: Mapping[str, str], name: str, *, default: bool) -> bool:
    """`true` or `false`, and nothing else. Raises Problem `invalid`."""
    value = values.get(name)
    if value is None:
        return default
    if value not in _BOOLEANS:
        raise invalid(f"{name} is true or false", name)
    return _BOOLEANS[value]


def integer(values: Mapping[str, str], name: str, allowed: range) -> int | None:
    """A decimal integer of a range; None where it is not given. Raises Problem `invalid`."""
    value = values.get(name)
    if value is None:
        return None
    try:
        number = digits(value)
    except ValueError:
        number = -1
    if number not in allowed:
        raise invalid(f"{name} is an integer from {allowed.start} to {allowed.stop - 1}", name)
    return number


def word(values: Mapping[str, str], name: str, allowed: Sequence[Word]) -> Word | None:
    """One of these words; None where it is not given. Raises Problem `invalid`."""
    value = values.get(name)
    if value is None:
        return None
    for each in allowed:
        if value == each:
            return each
    raise invalid(f"{name} is one of: {', '.join(allowed)}", name)


def page(
    rows: list[Row], limit: int | None, place: Callable[[Row], tuple[int, str]]
) -> tuple[list[Row], str | None]:
    """The rows of a page, and where the list goes on; None at its end.

    Args:
        rows: one more than the page may have, where there are so many.
        limit: how many it may have; None for all.
        place: the time and the id of a row.
    """
    if limit is None or len(rows) <= limit:
        return rows, None
    return rows[:limit], cursor(*place(rows[limit - 1]))


def cursor(created_at: int, name: str) -> str:
    """Where a list goes on: after the row that has this time and this id."""
    return base64.urlsafe_b64encode(f"{created_at}:{name}".encode()).decode().rstrip("=")


def before(values: Mapping[str, str]) -> tuple[int, str] | None:
    """What `cursor` has put together; None where none is given. Raises Problem `invalid`."""
    value = values.get("cursor")
    if value is None:
        return None
    try:
        text = base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)).decode("ascii")
        created_at, name = text.split(":")
        return digits(created_at), name
    except ValueError as error:
        raise invalid("the cursor is not one that a list has answered", "cursor") from error


def digits(text: str) -> int:
    """A number written in plain decimal digits. Raises ValueError for anything else that int() would take."""
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS_LIMIT):
        raise ValueError("not a plain decimal number")
    return int(text)
