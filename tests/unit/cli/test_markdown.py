"""Markdown on a terminal: nothing that was said is hidden, and nothing stands around it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawdforge.cli.markdown import Prose
from unit.cli.happening import printed


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("# Title", "Title\n"),
        ("a **b** `c`", "a b c\n"),
        ("- a\n- b", " • a\n • b\n"),
        ("3. c\n4. d", " 3 c\n 4 d\n"),
        ("<script>x</script>\n\n<b>y</b>", "<script>x</script>\n\n<b>y</b>\n"),
        ("[words](http://evil.test/x)", "words (http://evil.test/x)\n"),
        ("```py\nif a:\n    b\n\n```", "  if a:\n      b\n"),
        ("> quoted", "▌ quoted\n"),
        ("\x1b[31mred\u202e", "␛[31mred\\u202e\n"),
        ("", ""),
    ],
)
def test_markdown_is_shown(text: str, shown: str) -> None:
    assert printed(Prose(text)) == shown


def test_a_table_has_its_columns() -> None:
    lines = printed(Prose("|a|b|\n|-|-|\n|1|two|")).split("\n")
    assert [line.split() for line in lines if not {"─", "━"} & set(line)] == [
        ["a", "b"],
        ["1", "two"],
        [],
    ]


PARTS = st.sampled_from(
    [
        *"*_`~[]()!<>|#-+=\\:&;. \n\t",
        "```",
        "![x](",
        "[a]: b\n",
        "| a |\n|---|\n",
        "http://x",
        "1. ",
        "    ",
        "é",
        "\x00",
    ]
)


@given(st.lists(PARTS, max_size=40).map("".join))
def test_whatever_an_agent_says_can_be_shown(text: str) -> None:
    for line in printed(Prose(text), width=20).split("\n"):
        assert line == line.rstrip(" ")
