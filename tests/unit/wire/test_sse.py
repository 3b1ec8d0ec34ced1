"""Frames and their way back, however the bytes are cut."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawdforge.wire import sse
from clawdforge.wire.events import Event
from clawdforge.wire.sse import Decoder, Frame, TooLong

texts = st.text(st.characters(codec="utf-8"), max_size=20)
stored_events = st.builds(
    Event,
    st.integers(1, 10**18),
    st.sampled_from(["text", "tool_call"]),
    st.none() | st.integers(1, 9),
    st.integers(0, 2**53),
    st.dictionaries(st.sampled_from(["content", "a", "b"]), texts | st.lists(st.integers())),
)


def read(stream: bytes, cuts: list[int]) -> list[Frame]:
    decoder, found, begin = Decoder(), [], 0
    for end in [*sorted(cuts), len(stream)]:
        found += decoder.feed(stream[begin:end])
        begin = max(begin, end)
    return found


@given(st.lists(stored_events, max_size=5), st.data())
def test_what_was_framed_is_read_back_wherever_it_was_cut(events: list[Event], data: st.DataObject) -> None:
    stream = sse.HEARTBEAT + sse.frames(event.encoded() for event in events) + sse.HEARTBEAT
    found = read(stream, data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    assert [(frame.id, frame.event, json.loads(frame.data)) for frame in found] == [
        (str(event.seq), event.type, event.as_dict()) for event in events
    ]


def as_the_standard_says(stream: bytes) -> list[Frame]:
    """The standard's own words, for a stream that is there whole."""
    found, last_id, event, data = [], None, "", []
    *lines, _unfinished = re.split("\r\n|\r|\n", stream.decode("utf-8", "replace").removeprefix("\ufeff"))
    for line in lines:
        name, _, value = line.partition(":")
        value = value[1:] if value[:1] == " " else value
        if not line:
            if data:
                found.append(Frame(last_id, event or "message", "\n".join(data)))
            event, data = "", []
        elif name == "data":
            data.append(value)
        elif name == "event":
            event = value
        elif name == "id" and "\0" not in value:
            last_id = value
    return found


PIECES = [
    b"\r",
    b"\n",
    b"\r\n",
    b"data",
    b"data:",
    b"data: ",
    b"id: ",
    b"event:",
    b": ping",
    b"\xef\xbb\xbf",
    b"\0",
]
PIECES += [each.encode() for each in ("a", " ", ":", "é", "😀", "\u2028", "\x85", "\x0b")] + [b"\xf0\x9f", b"\xff"]


@given(st.lists(st.sampled_from(PIECES), max_size=40).map(b"".join), st.data())
def test_any_bytes_mean_what_the_standard_says_wherever_they_were_cut(stream: bytes, data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=8))
    assert read(stream, cuts) == as_the_standard_says(stream)


@pytest.mark.parametrize("line_end", ["\n", "\r", "\r\n"])
def test_a_stream_may_be_cut_at_every_byte_and_at_every_two(line_end: str) -> None:
    lines = "\ufeffid: 1\nevent: text\ndata: {é😀\u2028}\n\n: ping\n\ndata: a\ndata: b\n\nid\ndata: c\n\n"
    stream = lines.replace("\n", line_end).encode()
    frames = [Frame("1", "text", "{é😀\u2028}"), Frame("1", "message", "a\nb"), Frame("", "message", "c")]
    assert as_the_standard_says(stream) == frames
    for first in range(len(stream) + 1):
        for second in range(first, len(stream) + 1):
            assert read(stream, [first, second]) == frames
    assert read(stream, list(range(len(stream)))) == frames


def test_an_event_that_ends_with_cr_is_there_at_once() -> None:
    decoder = Decoder()
    assert decoder.feed(b"data: a\r\r") == [Frame(None, "message", "a")]
    assert decoder.feed(b"\ndata: b\n\n") == [Frame(None, "message", "b")]


@pytest.mark.parametrize("line_bytes", [16 * 2**20, 100])
def test_an_event_of_16_mb_comes_in_pieces_of_a_kilobyte(line_bytes: int) -> None:
    # One that were joined anew with each piece would not be there within the deadline of a test.
    data = "\n".join(["x" * line_bytes] * (16 * 2**20 // line_bytes))
    stream = f"id: 1\ndata: {data.replace(chr(10), chr(10) + 'data: ')}\n\n".encode()
    assert read(stream, list(range(0, len(stream), 1024))) == [Frame("1", "message", data)]


@pytest.mark.parametrize("line", [b"data: 123456789", b"data: 1\n", b"data\n", b": 123456789", b"xyz"])
def test_an_event_without_end_is_not_held_for_ever(line: bytes) -> None:
    decoder = Decoder(limit_bytes=1000)
    decoder.feed(b"data: " + b"x" * 900 + b"\n\ndata: " + b"x" * 900 + b"\n\n")
    with pytest.raises(TooLong, match="more than 1000 bytes"):
        for _ in range(1001):
            decoder.feed(line)


def test_comments_and_small_events_may_come_for_ever() -> None:
    decoder = Decoder(limit_bytes=100)
    for _ in range(100):
        assert decoder.feed(b": ping\nretry: 3\nid: 1\ndata: a\n\n") == [Frame("1", "message", "a")]


@pytest.mark.parametrize(
    ("stream", "frames"),
    [
        ("data: a\n\n", [Frame(None, "message", "a")]),
        ("data:a\r\rdata: b\r\n\r\n", [Frame(None, "message", "a"), Frame(None, "message", "b")]),
        ("data: a\ndata\ndata:  b\n\n", [Frame(None, "message", "a\n\n b")]),
        ("id: 7\nevent: x\ndata: 1\n\ndata: 2\n\n", [Frame("7", "x", "1"), Frame("7", "message", "2")]),
        ("id: 7\n\ndata: a\n\nid\ndata: b\n\n", [Frame("7", "message", "a"), Frame("", "message", "b")]),
        (": comment\nretry: 5\nnonsense\ndata: a\n\n", [Frame(None, "message", "a")]),
        ("\ufeffdata: a\n\n", [Frame(None, "message", "a")]),
        ("data: a\n", []),
        ("event: x\n\n", []),
    ],
)
@pytest.mark.parametrize("every", [1, 3, 1000])
def test_streams_as_the_standard_has_them(stream: str, frames: list[Frame], every: int) -> None:
    data = stream.encode()
    assert read(data, list(range(0, len(data), every))) == frames


@pytest.mark.parametrize("data", [{}, {"content": "x"}, {"a": None, "b": [1, {"c": "é\n\u2028"}]}])
@pytest.mark.parametrize("turn", [None, 3])
def test_an_event_as_text_is_the_object_of_the_wire(data: dict[str, Any], turn: int | None) -> None:
    event = Event(5, "text", turn, 1_700_000_000_000, data)
    assert json.loads(event.encoded().text()) == event.as_dict()
    assert "\n" not in event.encoded().text()
