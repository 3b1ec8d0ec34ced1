"""Query strings are read strictly, by their bytes."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from clawdforge.server.http import query
from clawdforge.wire.problems import Problem


def asked(text: bytes) -> dict[str, str]:
    return query.read(Request({"type": "http", "query_string": text, "headers": []}), {"a", "b"})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"a=%EF%BF%BD", "\ufffd"),
        ("a=\ufffd".encode(), "\ufffd"),
        ("a=ü".encode(), "ü"),
        (b"a=%F0%9F%98%80", "😀"),
        (b"a=x+y%2B", "x y+"),
        (b"a=", ""),
        (b"a", ""),
    ],
)
def test_text_arrives_as_it_was_meant(text: bytes, value: str) -> None:
    assert asked(text) == {"a": value}


@pytest.mark.parametrize(
    "text", [b"a=%FF", b"a=\xff", b"a=%ED%A0%80", b"%FF=1", b"a=1&b=%C3", b"a=%00", b"a=x%00y"]
)
def test_what_is_no_text_is_refused(text: bytes) -> None:
    with pytest.raises(Problem) as refused:
        asked(text)
    assert refused.value.code == "bad_request"


@pytest.mark.parametrize("text", [b"c=1", b"A=1", b"a=1&a=1", b"=1"])
def test_unknown_and_repeated_names_are_refused(text: bytes) -> None:
    with pytest.raises(Problem) as refused:
        asked(text)
    assert refused.value.code == "invalid"


def test_no_query_at_all() -> None:
    assert asked(b"") == {}
