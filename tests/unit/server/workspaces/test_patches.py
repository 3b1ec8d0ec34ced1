"""Patches of one file, applied again by somebody who has only read git's format."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clawdforge.server.workspaces import patches
from clawdforge.server.workspaces.patches import Side
from harness import patching

LINES = st.lists(
    st.sampled_from(["a\n", "b\n", "c\r\n", "\n", "-x\n", "+++ y\n", "\\ z\n", "@@ -1 +1 @@\n"]), max_size=30
)
TEXTS = st.builds(lambda lines, last: "".join(lines) + last, LINES, st.sampled_from(["", "no newline", "\r"]))
NAMES = st.one_of(
    st.sampled_from(
        ["a b.txt", 'q"uo.txt', "back\\slash", "new\nline", "tab\t.txt", "é.txt", "d/e", "\udcff.txt", "-"]
    ),
    st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=20).filter(
        lambda name: name not in {".", ".."}
    ),
)


def laid(root: Path, name: str, side: Side | None) -> Path:
    path = root / name
    if side is not None:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(side.text.encode())
        path.chmod(int(side.mode[-3:], 8))
    return path


def applied(name: str, old: Side | None, new: Side | None, edit_limit: int = patches.EDIT_LIMIT) -> Side | None:
    """What a patch makes of `old`."""
    with TemporaryDirectory() as folder:
        path = laid(Path(folder), name, old)
        patching.apply(Path(folder), patches.patch(name, name, old, new, edit_limit=edit_limit))
        if not path.exists():
            return None
        return Side("100755" if path.stat().st_mode & 0o100 else "100644", path.read_bytes().decode())


@settings(deadline=None)
@given(NAMES, TEXTS, TEXTS, st.sampled_from([0, 3, patches.EDIT_LIMIT]))
def test_a_patch_makes_the_new_text_of_the_old_one(name: str, old: str, new: str, edit_limit: int) -> None:
    after = Side("100644", new)
    assert applied(name, Side("100644", old), after, edit_limit) == after


@settings(deadline=None)
@given(NAMES, TEXTS, st.sampled_from(["100644", "100755"]))
def test_files_come_and_go(name: str, text: str, mode: str) -> None:
    side = Side(mode, text)
    assert applied(name, None, side) == side
    assert applied(name, side, None) is None


def test_a_patch_is_as_git_writes_it() -> None:
    old = Side("100644", "".join(f"{number}\n" for number in range(1, 21)))
    new = Side("100755", old.text.replace("2\n", "two\n", 1).replace("18\n", "").replace("20\n", "20"))
    assert patches.patch("a b", "a b", old, new) == (
        "diff --git a/a b b/a b\n"
        "old mode 100644\n"
        "new mode 100755\n"
        "index 0ff3bbb9c8bba2291654cd64067fa417ff54c508..f62148665ae162f91c64da65fa7eb420f2fa183e\n"
        "--- a/a b\t\n"
        "+++ b/a b\t\n"
        "@@ -1,5 +1,5 @@\n"
        " 1\n-2\n+two\n 3\n 4\n 5\n"
        "@@ -15,6 +15,5 @@\n"
        " 15\n 16\n 17\n-18\n 19\n-20\n+20\n"
        "\\ No newline at end of file\n"
    )


def test_the_least_is_told_that_changed() -> None:
    old = Side("100644", "".join(f"{number}\n" for number in range(100)))
    new = Side("100644", "".join(f"{number}\n" for number in range(100) if number % 10))
    patch = patches.patch("f", "f", old, new)
    lines = [line for line in patch.splitlines()[4:] if line[0] in "+-"]
    assert lines == [f"-{number}" for number in range(0, 100, 10)]


def test_what_differs_too_much_is_replaced_as_a_whole_between_what_is_alike() -> None:
    old = Side("100644", "first\n" + "".join(f"{number}\n" for number in range(2000)) + "last\n")
    new = Side("100644", "first\n" + "".join(f"{-number - 1}\n" for number in range(2000)) + "last\n")
    lines = patches.patch("f", "f", old, new).splitlines()[5:]
    assert lines[0] == " first"
    assert [line[0] for line in lines[1:-1]] == ["-"] * 2000 + ["+"] * 2000
    assert applied("f", old, new) == new


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("plain-é.txt", "a/plain-é.txt"),
        ('a"b', '"a/a\\"b"'),
        ("a\nb\tc\\d", '"a/a\\nb\\tc\\\\d"'),
        ("\x01\x7f", '"a/\\001\\177"'),
        (os.fsdecode(b"caf\xe9"), '"a/caf\\351"'),
    ],
)
def test_odd_names_are_written_as_git_writes_them(name: str, written: str) -> None:
    line = patches.patch(name, name, Side("100644", ""), None).splitlines()[0]
    assert line == f"diff --git {written} {written.replace('a/', 'b/', 1)}"


def test_a_renamed_file_is_moved_as_it_is(tmp_path: Path) -> None:
    laid(tmp_path, "from here", Side("100644", "text\n"))
    side = Side("100644", "")
    patching.apply(tmp_path, patches.patch("from here", "to/here", side, Side("100755", "")))
    assert os.listdir(tmp_path) == ["to"]
    assert (tmp_path / "to/here").read_text() == "text\n"
    assert os.access(tmp_path / "to/here", os.X_OK)


def test_a_file_becomes_a_link_and_a_link_a_file(tmp_path: Path) -> None:
    file, link = Side("100644", "text\n"), Side("120000", "where/it/leads")
    laid(tmp_path, "f", file)
    patching.apply(tmp_path, patches.patch("f", "f", file, link))
    assert os.readlink(tmp_path / "f") == "where/it/leads"
    patching.apply(tmp_path, patches.patch("f", "f", link, file))
    assert not (tmp_path / "f").is_symlink()
    assert (tmp_path / "f").read_text() == "text\n"
