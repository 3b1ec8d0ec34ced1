"""What a turn changed, as a patch and as a list."""

from __future__ import annotations

from typing import Any

import pytest

from clawdforge.cli import diffs, patches
from clawdforge.cli.summary import answer_text
from clawdforge.wire.diffs import FileDiff, TurnDiff


def changed(path: str = "a", change: Any = "modified", patch: str | None = "diff\n", **fields: Any) -> FileDiff:
    known = {"old_mode": None, "new_mode": None, "old_size": None, "new_size": None}
    flags = {"binary": False, "too_large": False}
    return FileDiff(path=path, change=change, patch=patch, **{**known, **flags, **fields})


def turn(*files: FileDiff, **fields: bool) -> TurnDiff:
    known = {"running": False, "late": False, "truncated": False}
    return TurnDiff(ok=True, session_id="s", turn_index=3, files=list(files), **{**known, **fields})


def test_a_patch_is_all_patches_one_after_the_other() -> None:
    told = turn(
        changed(patch="diff a\n+a\n"), changed("b", patch=None, binary=True), changed("c", patch="diff c\n")
    )

    assert diffs.patch(told) == "diff a\n+a\ndiff c\n"
    assert list(diffs.patch_lines(told)) == ["diff a", "+a", "diff c"]
    assert diffs.without_patch(told) == ["b (binary)"]
    assert (diffs.patch(turn()), list(diffs.patch_lines(turn()))) == ("", [])


def test_the_list_tells_each_file_and_what_its_patch_does_not() -> None:
    told = turn(
        changed("new", "added"),
        changed("gone", "deleted"),
        changed("there", "renamed", old_path="here"),
        changed("x.sh", "mode"),
        changed("big", patch=None, too_large=True),
        changed("odd", "unheard-of", patch=None),
    )

    assert list(diffs.stat_lines(told)) == [
        "turn 3, 6 files",
        "  A new",
        "  D gone",
        "  R here -> there",
        "  M x.sh",
        "  M big (too large to be shown)",
        "  ? odd (no patch)",
    ]


def test_a_long_patch_is_shown_in_pieces() -> None:
    lines = [f"+{number}" for number in range(450)]

    shown = [piece.plain for piece in patches.pieces(lines)]

    assert [len(each.split("\n")) for each in shown] == [200, 200, 50]
    assert "\n".join(shown) == "\n".join(lines)


@pytest.mark.parametrize(
    ("fields", "head"),
    [
        ({}, "turn 3, 0 files"),
        ({"running": True}, "turn 3, 0 files, so far"),
        (
            {"late": True, "truncated": True},
            "turn 3, 0 files, as found after the gateway had died in it, and maybe more",
        ),
    ],
)
def test_what_may_be_missing_is_said(fields: dict[str, bool], head: str) -> None:
    assert next(diffs.stat_lines(turn(**fields))) == head


@pytest.mark.parametrize(
    ("events", "text"),
    [
        ([{"type": "text", "content": "a"}, {"type": "mode"}, {"type": "text", "content": "b"}], "ab"),
        ([1, None, {"content": "x"}], ""),
        ("nonsense", ""),
        (None, ""),
    ],
)
def test_what_was_said_in_a_turn_is_read_from_its_record(events: Any, text: str) -> None:
    assert answer_text({"events": events}) == text
