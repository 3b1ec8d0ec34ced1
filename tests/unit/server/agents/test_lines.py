"""Lines cut from chunks, however the chunks fall."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawdforge.server.agents.lines import LineCutter, LineTooLong


@given(lines=st.lists(st.binary(max_size=30).map(lambda b: b.replace(b"\n", b"")), max_size=20), data=st.data())
def test_gives_the_same_lines_for_every_way_to_cut_the_stream(lines: list[bytes], data: st.DataObject) -> None:
    stream = b"\n".join(lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    got: list[bytes] = []
    cutter = LineCutter(got.append, limit_bytes=100)
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        cutter.feed(stream[start:end])
    cutter.finish()
    assert got == [line for line in lines if line]


@pytest.mark.parametrize("size", [1, 3, 7, 50])
def test_refuses_the_first_line_over_the_limit_and_gives_those_before(size: int) -> None:
    got: list[bytes] = []
    cutter = LineCutter(got.append, limit_bytes=5)
    stream = b"12345\n1\n123456\nlater\n"
    with pytest.raises(LineTooLong, match="more than 5 bytes"):
        for start in range(0, len(stream), size):
            cutter.feed(stream[start : start + size])
    assert got == [b"12345", b"1"]


def test_a_line_that_never_ends_is_refused_before_it_is_held() -> None:
    cutter = LineCutter(lambda _: None, limit_bytes=1000)
    with pytest.raises(LineTooLong):
        for _ in range(1001):
            cutter.feed(b"x")
