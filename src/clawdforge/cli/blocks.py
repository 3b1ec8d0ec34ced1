"""An answer in markdown, cut into blocks while it comes: a finished block is printed once and never again.

Each block stands for itself: a piece of a long code fence is a fence, a piece of a long table has its heading. The
work is linear in the answer's length, and what is held is bounded, whatever the answer looks like. Must not print.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

BLOCK_LINES: Final = 100
LINE_CHARS: Final = 8_192

_FENCE: Final = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")
_ITEM: Final = re.compile(r"(?:[-*+]|[0-9]{1,9}[.)])(?:\s|$)")
_HEADING: Final = re.compile(r" {0,3}#{1,6}(?:\s|$)")
_RULE: Final = re.compile(r"\|?[ :|-]*-[ :|-]*")


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of markdown that can be rendered alone. `apart`: an empty line stands before it."""

    text: str
    apart: bool = True


class Blocks:
    """Takes an answer piece by piece, wherever that is cut, and gives its blocks as they are complete."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._line = ""
        self._fence = ""  # the line that opened the fence which is open, else ""
        self._blank = False  # whether empty lines came after the block's last line
        self._apart = True  # whether the block that is being read stands apart from the one before

    @property
    def empty(self) -> bool:
        """Whether all that has come was given."""
        return not self._lines and not self._line

    @property
    def tail(self) -> Block:
        """What has come of the block that is not complete; its text may be empty."""
        opened = [self._fence] if self._fence and self._lines[:1] != [self._fence] else []
        lines = [*opened, *self._lines, *([self._line] if self._line else [])]
        return Block("\n".join(lines), self._apart)

    def add(self, piece: str) -> Iterator[Block]:
        """The blocks that this piece completes. It must be iterated to its end."""
        *lines, rest = piece.split("\n")
        for line in lines:
            yield from self._longer(line)
            whole, self._line = self._line, ""
            yield from self._end_of_line(whole.removesuffix("\r"))
        yield from self._longer(rest)

    def finish(self) -> Iterator[Block]:
        """The last block, if any: nothing comes after it."""
        if self._line:
            line, self._line = self._line, ""
            yield from self._end_of_line(line)
        yield from self._cut(apart=True)
        self._fence = ""

    def _longer(self, text: str) -> Iterator[Block]:
        """A line grows. One that is endless is cut at a space, if it has one."""
        while len(self._line) + len(text) > LINE_CHARS:
            room = LINE_CHARS - len(self._line)
            line, text = self._line + text[:room], text[room:]
            space = line.rfind(" ", LINE_CHARS // 2)
            if space > 0:
                line, text = line[:space], line[space + 1 :] + text
            self._line = ""
            yield from self._end_of_line(line)
        self._line += text

    def _end_of_line(self, line: str) -> Iterator[Block]:
        if self._fence:
            yield from self._code(line)
        elif not line.strip():
            yield from self._empty_line()
        else:
            yield from self._text(line)

    def _empty_line(self) -> Iterator[Block]:
        """The end of a block, but for that of a list: an item may go on after it."""
        if self._lines and _ITEM.match(self._lines[0]):
            self._blank = True
        else:
            yield from self._cut(apart=True)

    def _code(self, line: str) -> Iterator[Block]:
        self._lines.append(line)
        closing = _FENCE.fullmatch(line)
        opening = _FENCE.fullmatch(self._fence)
        assert opening is not None
        if closing is not None and closing[1].startswith(opening[1]) and not closing[2].strip():
            yield from self._cut(apart=True)
            self._fence = ""
        elif len(self._lines) >= BLOCK_LINES:
            yield from self._cut(apart=False)

    def _text(self, line: str) -> Iterator[Block]:
        fence = _FENCE.fullmatch(line)
        if fence is not None and "`" not in fence[2]:
            yield from self._cut(apart=True)
            self._fence = line
        elif self._begins_anew(line):
            yield from self._cut(apart=self._blank or _HEADING.match(line) is not None)
        elif self._blank:
            self._lines.append("")
        self._blank = False
        if len(self._lines) >= BLOCK_LINES:
            heading = self._table_heading()
            yield from self._cut(apart=False)
            self._lines = heading
        self._lines.append(line)

    def _begins_anew(self, line: str) -> bool:
        """Whether this line of text begins a block."""
        if not self._lines:
            return False
        if self._blank:
            return not line[:1].isspace()
        if _ITEM.match(self._lines[0]) and _ITEM.match(line):
            return True
        return _HEADING.match(line) is not None or _HEADING.match(self._lines[0]) is not None

    def _table_heading(self) -> list[str]:
        """The first two lines of the table that is being read, [] where this is none."""
        is_table = "|" in self._lines[0] and "-" in self._lines[1] and _RULE.fullmatch(self._lines[1].strip())
        return self._lines[:2] if is_table else []

    def _cut(self, *, apart: bool) -> Iterator[Block]:
        """The block that was being read ends here. `apart`: the next one stands apart from it."""
        lines, self._lines = self._lines, []
        if not lines:
            return
        if self._fence and lines[0] != self._fence:
            lines.insert(0, self._fence)  # a piece of a fence is one; it may lack its end
        yield Block("\n".join(lines), self._apart)
        self._apart = apart
