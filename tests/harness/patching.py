"""Applies patches in git's format to a directory: written from the format, and not from what writes them here."""

from __future__ import annotations

import os
import re
from pathlib import Path

_HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
_ESCAPE = re.compile(rb'\\([abtnvfr"\\]|[0-7]{3})')
_LETTERS = dict(zip("abtnvfr", "\a\b\t\n\v\f\r", strict=True))
_HEADERS = re.compile(
    "((?:old|new|new file|deleted file) mode |index |similarity index |rename from |rename to |--- |[+]{3} )(.*)"
)


def apply(root: Path, patch: str) -> None:
    """Applies a patch of any number of files, strictly: each line that it tells of must be there."""
    for section in re.split(r"^(?=diff --git )", patch, flags=re.MULTILINE)[1:]:
        _Section(section).apply(root)


class _Section:
    """What a patch tells of one file."""

    def __init__(self, text: str) -> None:
        self.lines = text.split("\n")
        assert self.lines.pop() == "", "a patch ends with a newline"
        self.head: dict[str, str] = {}
        self.at = 1
        while self.at < len(self.lines) and not self.lines[self.at].startswith("@@ "):
            found = _HEADERS.fullmatch(self.lines[self.at])
            assert found is not None, self.lines[self.at]
            assert found[1] not in self.head, f"{found[1]} twice"
            self.head[found[1]] = found[2]
            self.at += 1

    def apply(self, root: Path) -> None:
        old_name, new_name = self._names()
        old, new = root / os.fsdecode(old_name), root / os.fsdecode(new_name)
        mode = self.head.get("new file mode ") or self.head.get("new mode ")
        if "new file mode " in self.head:
            assert not os.path.lexists(new), f"{new} is there already"
            before: list[str] = []
        elif old.is_symlink():
            before = _lines(os.readlink(old))
        else:
            before = _lines(old.read_bytes().decode())
            mode = mode or ("100755" if old.stat().st_mode & 0o100 else "100644")
        if "deleted file mode " in self.head:
            assert self.head["deleted file mode "] == _mode(old)
        if "old mode " in self.head:
            assert self.head["old mode "] == _mode(old)
        after = self._after(before)
        if old.exists() or old.is_symlink():
            mode = mode or _mode(old)
            old.unlink()
        if "deleted file mode " in self.head:
            assert after == []
            return
        new.parent.mkdir(parents=True, exist_ok=True)
        if mode == "120000":
            new.symlink_to("".join(after))
        else:
            assert mode in {"100644", "100755"}
            new.write_bytes("".join(after).encode())
            new.chmod(int(mode[-3:], 8))

    def _names(self) -> tuple[bytes, bytes]:
        if "rename from " in self.head:
            return _unquoted(self.head["rename from "]), _unquoted(self.head["rename to "])
        # Both are the same but for what they begin with, so the line can be cut where they begin to be.
        both = self.lines[0].removeprefix("diff --git ")
        old, new = both[: len(both) // 2], both[len(both) // 2 + 1 :]
        names = _unquoted(old), _unquoted(new)
        assert (names[0][:2], names[1][:2]) == (b"a/", b"b/")
        assert names[0][2:] == names[1][2:]
        for key, name in (("--- ", names[0]), ("+++ ", names[1])):
            told = self.head.get(key, "/dev/null")
            assert told == "/dev/null" or _unquoted(told.removesuffix("\t")) == name
            assert told.endswith("\t") == (" " in told and not told.startswith('"'))
        return names[0][2:], names[1][2:]

    def _after(self, before: list[str]) -> list[str]:
        after: list[str] = []
        taken = 0
        while self.at < len(self.lines):
            found = _HUNK.fullmatch(self.lines[self.at])
            assert found is not None, self.lines[self.at]
            self.at += 1
            old_start, old_count, new_start, new_count = (
                1 if each is None else int(each) for each in found.groups()
            )
            start = old_start - 1 if old_count else old_start
            assert start >= taken
            after += before[taken:start]
            taken = start
            assert len(after) == (new_start - 1 if new_count else new_start)
            until = taken + old_count, len(after) + new_count
            while (taken, len(after)) < until:
                taken = self._line(before, after, taken)
            assert (taken, len(after)) == until
        return after + before[taken:]

    def _cut(self) -> bool:
        return self.at < len(self.lines) and self.lines[self.at].startswith("\\")

    def _line(self, before: list[str], after: list[str], taken: int) -> int:
        kind, text = self.lines[self.at][:1], self.lines[self.at][1:]
        self.at += 1
        whole = text if self._cut() else text + "\n"
        if self._cut():
            assert self.lines[self.at] == "\\ No newline at end of file"
            self.at += 1
        if kind in {" ", "-"}:
            assert before[taken] == whole
            taken += 1
        if kind in {" ", "+"}:
            after.append(whole)
        assert kind in {" ", "-", "+"}, kind
        return taken


def _mode(path: Path) -> str:
    if path.is_symlink():
        return "120000"
    return "100755" if path.stat().st_mode & 0o100 else "100644"


def _lines(text: str) -> list[str]:
    lines = [line + "\n" for line in text.split("\n")]
    last = lines.pop().removesuffix("\n")
    return [*lines, last] if last else lines


def _unquoted(name: str) -> bytes:
    plain = name.encode()
    if not plain.startswith(b'"'):
        return plain
    assert plain.endswith(b'"')
    return _ESCAPE.sub(_meant, plain[1:-1])


def _meant(escape: re.Match[bytes]) -> bytes:
    text = escape[1].decode()
    return bytes([int(text, 8)]) if text.isdecimal() else _LETTERS.get(text, text).encode()
