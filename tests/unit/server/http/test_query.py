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


def test_a_word_is_one_of_those_that_are_known() -> None:
    assert query.word({"by": "day"}, "by", ("agent", "day")) == "day"
    assert query.word({}, "by", ("agent", "day")) is None


@pytest.mark.parametrize("value", ["", "Day", "day ", "agent,day", "0"])
def test_another_word_is_refused(value: str) -> None:
    with pytest.raises(Problem) as refused:
        query.word({"by": value}, "by", ("agent", "day"))
    assert refused.value.code == "invalid"


def test_a_cursor_is_read_as_it_was_written() -> None:
    assert query.before({"cursor": query.cursor(1_700_000_000, "run_1")}) == (1_700_000_000, "run_1")
    assert query.before({}) is None


@pytest.mark.parametrize("cursor", ["", "x", "é", "=", "MTIz", "Onh4", "LTE6eA", "OTk5OTk5OTk5OTk5OTk5OTk5OTp4"])
def test_a_cursor_that_no_list_has_answered_is_refused(cursor: str) -> None:
    with pytest.raises(Problem) as refused:
        query.before({"cursor": cursor})
    assert refused.value.code == "invalid"
