from __future__ import annotations

import json

import pytest

from clawdforge import ForgeProtocolError
from clawdforge.client._cursor import Cursor
from harness.raw_server import frame

pytestmark = pytest.mark.usefixtures("no_collection")


def seqs(cursor: Cursor, *pieces: bytes) -> list[int]:
    return [event.seq for piece in pieces for event in cursor.take(piece)]


def test_events_come_out_once_and_in_order() -> None:
    cursor = Cursor()
    assert seqs(cursor, frame(1), frame(2) + frame(2), frame(1), frame(5), frame(4)) == [1, 2, 5]
    assert (cursor.after, cursor.ended, cursor.turn_index) == (5, False, None)


def test_a_reader_may_have_some_already() -> None:
    cursor = Cursor(7)
    assert (cursor.after, cursor.told) == (7, 7)
    assert seqs(cursor, frame(6) + frame(7) + frame(8)) == [8]


@pytest.mark.parametrize("size", range(1, 60))
def test_however_the_bytes_are_cut(size: int) -> None:
    stream = (
        b": hi\n\n" + frame(1, content="ä\n") + b":\r\n\r\n" + frame(2, content="🚲") + frame(3, "session_closed")
    )
    cursor = Cursor()
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    assert seqs(cursor, *pieces) == [1, 2, 3]
    assert cursor.ended
    assert cursor.heard_bytes == len(stream)


def test_half_a_frame_counts_for_nothing_after_a_cut() -> None:
    cursor = Cursor()
    assert seqs(cursor, frame(1), frame(2)[:-7]) == [1]
    cursor.reconnected()
    assert seqs(cursor, frame(2)) == [2]


def test_one_turn_is_that_of_the_first_event() -> None:
    cursor = Cursor(one_turn=True)
    stream = [
        frame(3, turn_index=2),
        frame(4, turn_index=None),
        frame(5, turn_index=1),
        frame(6, "turn_end", turn_index=3),
    ]
    assert seqs(cursor, *stream) == [3]
    assert (cursor.turn_index, cursor.ended, cursor.after) == (2, False, 6)
    end = frame(7, "turn_end", turn_index=2) + frame(8, turn_index=2)
    assert seqs(cursor, end) == [7]
    assert cursor.ended


def test_a_sessions_end_is_its_closing() -> None:
    cursor = Cursor()
    assert seqs(cursor, frame(1, "turn_end") + frame(2, "session_closed") + frame(3)) == [1, 2]
    assert cursor.ended


def test_what_was_not_read_is_kept() -> None:
    cursor = Cursor()
    cursor.take(frame(1) + frame(2) + frame(3))
    cursor.told = 1
    assert [event.seq for event in cursor.untold()] == [2, 3]
    cursor.told = 3
    assert cursor.untold() == []
    with pytest.raises(ForgeProtocolError):
        cursor.take(frame(4) + b"data: what?\n\n")
    assert [event.seq for event in cursor.untold()] == [4]


def test_pages_are_read_the_same() -> None:
    cursor = Cursor(1)
    told = [{"seq": seq, "type": "text", "turn_index": 1} for seq in (1, 2, 2, 3)]
    assert [event.seq for event in cursor.take_objects(told)] == [2, 3]


@pytest.mark.parametrize("data", ["what?", "7", "[]", "[" * 100_000, json.dumps({"seq": 1})])
def test_what_is_no_event_is_told_without_its_words(data: str) -> None:
    with pytest.raises(ForgeProtocolError, match="an event came") as caught:
        Cursor().take(b"data: %b\n\n" % data.encode())
    assert "what" not in str(caught.value)
    assert caught.value.__cause__ is None
