"""An answer cut into blocks: the same wherever its pieces end, complete, and each block for itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawdforge.cli.blocks import BLOCK_LINES, LINE_CHARS, Block, Blocks


def blocks(*pieces: str) -> list[Block]:
    reading = Blocks()
    found = [block for piece in pieces for block in reading.add(piece)]
    return [*found, *reading.finish()]


def texts(*pieces: str) -> list[str]:
    return [block.text for block in blocks(*pieces)]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("", []),
        ("\n\n \n", []),
        ("one", ["one"]),
        ("one\ntwo\n\n\nthree\n", ["one\ntwo", "three"]),
        ("# a\ntext\n## b\n", ["# a", "text", "## b"]),
        ("- a\n- b\n  more\n\n  still b\n- c\n\nafter", ["- a", "- b\n  more\n\n  still b", "- c", "after"]),
        ("1. a\n2. b\n", ["1. a", "2. b"]),
        ("so:\n- a\n- b\n", ["so:\n- a\n- b"]),
        ("text\n```py\na\n\nb\n```\nafter", ["text", "```py\na\n\nb\n```", "after"]),
        ("~~~\n```\n~~~\n", ["~~~\n```\n~~~"]),
        ("````\n```\n````\nx", ["````\n```\n````", "x"]),
        ("```not` a fence\n\nx", ["```not` a fence", "x"]),
        ("```\nnever closed", ["```\nnever closed"]),
        ("|a|b|\n|-|-|\n|1|2|\n\nx", ["|a|b|\n|-|-|\n|1|2|", "x"]),
        ("> a\n> b\n\nc\r\n\r\nd", ["> a\n> b", "c", "d"]),
    ],
)
def test_an_answer_becomes_blocks(answer: str, expected: list[str]) -> None:
    assert texts(answer) == expected


def test_a_block_stands_apart_where_an_empty_line_or_a_heading_says_so() -> None:
    found = blocks("# a\ntext\n\nmore\n- x\n\n- y\n- z\n# b\n")

    assert [(each.text, each.apart) for each in found] == [
        ("# a", True),
        ("text", False),
        ("more\n- x", True),
        ("- y", True),
        ("- z", False),
        ("# b", True),
    ]


WORDS = st.sampled_from(
    ["word", " ", "\n", "\n\n", "```", "~~~", "- ", "1. ", "# ", "|a|b|\n|-|-|\n", "\r\n", "> ", "    ", "é"]
)


@given(st.lists(WORDS, max_size=40).map("".join), st.data())
def test_where_an_answer_is_cut_makes_no_difference(answer: str, data: st.DataObject) -> None:
    places = sorted(data.draw(st.lists(st.integers(0, len(answer)), max_size=8)))
    pieces = [answer[start:end] for start, end in zip([0, *places], [*places, len(answer)], strict=True)]

    assert blocks(*pieces) == blocks(answer)


@given(st.lists(WORDS, max_size=40).map("".join))
def test_nothing_that_was_said_is_lost(answer: str) -> None:
    said = [line for line in answer.replace("\r\n", "\n").split("\n") if line.strip()]

    assert [line for block in texts(answer) for line in block.split("\n") if line.strip()] == said


def test_what_is_not_complete_is_the_tail() -> None:
    reading = Blocks()

    assert list(reading.add("one\n\ntwo\nth")) == [Block("one")]
    assert reading.tail == Block("two\nth")
    assert list(reading.finish()) == [Block("two\nth")]
    assert reading.empty


def test_a_long_fence_comes_in_pieces_that_are_fences() -> None:
    code = [f"line {number}" for number in range(3 * BLOCK_LINES)]
    found = blocks("\n".join(["```py", *code, "```", "after"]))

    assert all(each.text.startswith("```py\n") for each in found[:-1])
    assert [line for each in found for line in each.text.split("\n") if line.startswith("line")] == code
    assert max(len(each.text.split("\n")) for each in found) <= BLOCK_LINES + 1
    assert [each.apart for each in found] == [True, *[False] * (len(found) - 2), True]


def test_within_a_long_fence_the_tail_is_a_fence_too() -> None:
    reading = Blocks()
    assert list(reading.add("```py\n" + "x\n" * BLOCK_LINES + "y"))

    assert reading.tail.text.startswith("```py\n")


def test_a_long_table_comes_in_pieces_that_have_its_heading() -> None:
    rows = [f"| {number} | x |" for number in range(2 * BLOCK_LINES)]
    found = texts("\n".join(["| n | x |", "|---|:-:|", *rows]))

    assert len(found) > 2
    assert all(each.startswith("| n | x |\n|---|:-:|\n") for each in found)
    assert [line for each in found for line in each.split("\n")[2:]] == rows


def test_long_text_without_an_empty_line_is_cut_at_a_lines_end() -> None:
    lines = [f"word {number}" for number in range(3 * BLOCK_LINES)]

    assert [line for each in texts("\n".join(lines)) for line in each.split("\n")] == lines


@pytest.mark.parametrize("line", ["word " * LINE_CHARS, "x" * 3 * LINE_CHARS])
def test_an_endless_line_is_held_in_part_only(line: str) -> None:
    reading = Blocks()
    held = []
    for start in range(0, len(line), 1000):
        held += list(reading.add(line[start : start + 1000]))
        assert len(reading._line) <= LINE_CHARS
    held += list(reading.finish())

    assert "".join(each.text for each in held).replace("\n", "").replace(" ", "") == line.replace(" ", "")
