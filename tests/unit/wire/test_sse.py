"""Frames and their way back, however the bytes are cut."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawdforge.wire import sse
from clawdforge.wire.events import Event
from clawdforge.wire.sse import Decoder, Frame

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


def test_the_last_id_is_that_of_a_whole_frame() -> None:
    decoder = Decoder()
    assert len([*decoder.feed(b"id: 1\ndata: a\n\nid: 2\ndata: b\n")]) == 1
    assert decoder.last_id == "1"
    assert len([*decoder.feed(b"\n")]) == 1
    assert decoder.last_id == "2"


@pytest.mark.parametrize("data", [{}, {"content": "x"}, {"a": None, "b": [1, {"c": "é\n\u2028"}]}])
@pytest.mark.parametrize("turn", [None, 3])
def test_an_event_as_text_is_the_object_of_the_wire(data: dict[str, Any], turn: int | None) -> None:
    event = Event(5, "text", turn, 1_700_000_000_000, data)
    assert json.loads(event.encoded().text()) == event.as_dict()
    assert "\n" not in event.encoded().text()
