from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawdforge.server.workspaces.names import LIMIT_BYTES, clean, numbered

NASTY = st.text(
    alphabet=st.sampled_from([*'./\\:*?"<>| \t\r\n\0aA1.', "é", "e", "\u0301", "𝄞", "\ud800", "\u202e", "\u3000"])
)
NAMES = st.one_of(
    st.text(), NASTY, st.text(min_size=200, max_size=400), st.sampled_from(["con", "NUL.txt", "Lpt1 ."])
)


@pytest.mark.parametrize(
    ("given_name", "cleaned"),
    [
        ("report.pdf", "report.pdf"),
        ("../../etc/passwd", "passwd"),
        ("/etc/passwd", "passwd"),
        ("C:\\Users\\me\\a.txt", "a.txt"),
        ("a:b.txt", "a_b.txt"),
        ("dir/", "dir"),
        ("a/..", "a"),
        ("%2e%2e%2fa", "%2e%2e%2fa"),
        ("a\0b\r\n.txt", "ab.txt"),
        ("\x1b[31mred.txt", "[31mred.txt"),
        ("..", "file"),
        ("", "file"),
        ("   ", "file"),
        ("/", "file"),
        ("\ud800", "file"),
        (".bashrc", "bashrc"),
        (".git", "git"),
        (".claude/settings.json", "settings.json"),
        (".claude", "claude"),
        (".mcp.json", "mcp.json"),
        (".env", "env"),
        ("..\u202e.gemini", "gemini"),
        ("%2e%2e/%2e%2e\\%2egit", "%2egit"),
        ('a"; filename="b.txt', "a_; filename=_b.txt"),
        ("a\r\nSet-Cookie: b=c", "aSet-Cookie_ b=c"),
        (" a .txt ", "a .txt"),
        ("a.txt. . ", "a.txt"),
        ("e\u0301.txt", "é.txt"),
        ("e\0\u0301.txt", "é.txt"),
        ("fdp.\u202etxt.exe", "fdp.txt.exe"),
        ("con", "_con"),
        ("NUL.txt", "_NUL.txt"),
        ("aux .h", "_aux .h"),
        ("COM¹", "_COM¹"),
        ("console.txt", "console.txt"),
        ("com10", "com10"),
        ('a<b>c"d|e?f*.txt', "a_b_c_d_e_f_.txt"),
        ("x" * 300 + ".txt", "x" * 251 + ".txt"),
        ("é" * 200 + ".txt", "é" * 125 + ".txt"),
        ("a." + "x" * 300, ("a." + "x" * 300)[:255]),
        ("ab " * 100 + ".txt", ("ab " * 100)[:251] + ".txt"),
    ],
)
def test_names_become_safe(given_name: str, cleaned: str) -> None:
    assert clean(given_name) == cleaned


@given(NAMES)
def test_a_clean_name_is_one_safe_component(name: str) -> None:
    cleaned = clean(name)
    assert 1 <= len(cleaned.encode()) <= LIMIT_BYTES
    assert not set(cleaned) & set('/\\:*?"<>|')
    assert not any(unicodedata.category(each) in {"Cc", "Cs", "Zl", "Zp"} for each in cleaned)
    assert cleaned[0] not in ". "
    assert cleaned[-1] not in ". "
    assert unicodedata.is_normalized("NFC", cleaned)
    assert cleaned.split(".")[0].strip().lower() not in {"con", "prn", "aux", "nul", "com1", "lpt9"}


@given(NAMES)
def test_cleaning_twice_changes_nothing(name: str) -> None:
    assert clean(clean(name)) == clean(name)


@given(NAMES)
def test_numbered_names_are_clean_and_distinct(name: str) -> None:
    names = [numbered(clean(name), number) for number in range(1, 30)]
    assert names[0] == clean(name)
    assert len(set(names)) == len(names)
    assert all(clean(each) == each for each in names)


@pytest.mark.parametrize(
    ("name", "second"),
    [
        ("a.txt", "a (2).txt"),
        ("a", "a (2)"),
        ("a.tar.gz", "a.tar (2).gz"),
        ("x" * 251 + ".txt", "x" * 247 + " (2).txt"),
        ("é" * 127, "é" * 125 + " (2)"),
    ],
)
def test_the_number_stands_before_the_extension(name: str, second: str) -> None:
    assert numbered(name, 2) == second
