"""Edits as a person reads them: unified diffs, in colours where there are some.

Loads rich. A patch that goes to a pipe is no matter of this module: it goes as it came.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

from rich.text import Text

from clawdforge.cli import terminal
from clawdforge.cli.diffs import edit_lines
from clawdforge.client.events import ToolDiff

_PIECE_LINES: Final = 200
_STYLES: Final = {"@@": "cyan", "+++": "bold", "---": "bold", "+": "green", "-": "red"}
_HEADS: Final = ("diff ", "index ", "new file", "deleted file", "old mode", "new mode", "rename ", "similarity ")


def pieces(lines: Iterable[str]) -> Iterator[Text]:
    """A patch in pieces, coloured: of a long one the first can be seen while the last is not made yet."""
    left = iter(lines)
    while piece := list(islice(left, _PIECE_LINES)):
        yield coloured(piece)


def coloured(lines: Iterable[str]) -> Text:
    """The lines of a patch, each in the colour of what it says."""
    text = Text()
    for line in lines:
        text.append(terminal.printable(line) + "\n", _style(line))
    text.rstrip()
    return text


def edit(diff: ToolDiff, path: str, limit: int) -> Text:
    """What an edit of an agent changes, in at most `limit` lines and one that counts the others."""
    shown = edit_lines(diff, path)
    text = coloured(islice(shown, limit))
    left = sum(1 for _ in shown)
    if left:
        text.append(f"\n… {left} more line{'s' if left > 1 else ''}", "dim")
    return text


def _style(line: str) -> str:
    if line.startswith(_HEADS):
        return "bold"
    return next((style for start, style in _STYLES.items() if line.startswith(start)), "")
