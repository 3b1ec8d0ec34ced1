"""What git would write of one file that changed: headers, hunks, odd names. Pure.

Which lines changed is found within a bound: beyond `EDIT_LIMIT` lines the whole middle is replaced, which is as
true and only longer. Must not know where the contents come from.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

CONTEXT_LINES: Final = 3
EDIT_LIMIT: Final = 800
"""More lines than these, removed and added, are not told apart: the work grows with the square of them."""

_ODD: Final = re.compile(r'[\x00-\x1f\x7f"\\\udc80-\udcff]')
_LETTERS: Final = {
    "\a": "a",
    "\b": "b",
    "\t": "t",
    "\n": "n",
    "\v": "v",
    "\f": "f",
    "\r": "r",
    '"': '"',
    "\\": "\\",
}
_NO_NEWLINE: Final = "\n\\ No newline at end of file\n"


@dataclass(frozen=True, slots=True)
class Side:
    """A file before or after: its mode as git writes it (`100644`), and its text."""

    mode: str
    text: str


def patch(
    old_name: str, new_name: str, old: Side | None, new: Side | None, *, edit_limit: int = EDIT_LIMIT
) -> str:
    """The patch that makes `new` of `old`, for `git apply` and `patch -p1`.

    A file that became a link, or the other way round, is removed and made anew.

    Args:
        old_name: its path in the workspace, bytes that are no UTF-8 as half surrogates.
        new_name: another one where the file was renamed, and is the same otherwise but for its mode.
        old: the file before; None where there was none.
        new: the file after; None where there is none.
        edit_limit: so many lines are told apart at most.
    """
    if old is not None and new is not None and old.mode[:3] != new.mode[:3]:
        return patch(old_name, old_name, old, None) + patch(new_name, new_name, None, new)
    before, after = _quoted("a/" + old_name), _quoted("b/" + new_name)
    lines = [f"diff --git {before} {after}"]
    if old is None or new is None:
        lines += [f"new file mode {new.mode}"] if new is not None else []
        lines += [f"deleted file mode {old.mode}"] if old is not None else []
    elif old.mode != new.mode:
        lines += [f"old mode {old.mode}", f"new mode {new.mode}"]
    if old_name != new_name:
        lines += ["similarity index 100%", f"rename from {_quoted(old_name)}", f"rename to {_quoted(new_name)}"]
    if old is None or new is None or old.text != new.text:
        # GNU patch knows by it that an empty file comes or goes.
        mode = f" {old.mode}" if old is not None and new is not None and old.mode == new.mode else ""
        lines.append(f"index {_blob(old)}..{_blob(new)}{mode}")
    hunks = "".join(_hunks(_lines(old), _lines(new), edit_limit))
    if hunks:
        lines += [f"--- {_named(before) if old else '/dev/null'}", f"+++ {_named(after) if new else '/dev/null'}"]
    return "\n".join(lines) + "\n" + hunks


def _blob(side: Side | None) -> str:
    """By what git knows a content."""
    if side is None:
        return "0" * 40
    content = side.text.encode()
    return hashlib.sha1(b"blob %d\0%b" % (len(content), content), usedforsecurity=False).hexdigest()


def _quoted(name: str) -> str:
    """A name as git writes it: in quotes where it holds what a line cannot, or what is no UTF-8."""
    if not _ODD.search(name):
        return name
    return f'"{_ODD.sub(_escaped, name)}"'


def _escaped(found: re.Match[str]) -> str:
    letter = _LETTERS.get(found[0])
    return f"\\{letter}" if letter is not None else f"\\{found[0].encode('utf-8', 'surrogateescape')[0]:03o}"


def _named(name: str) -> str:
    """A name with a space in it ends with a tab, so that nobody takes a part of it for a date."""
    return name + "\t" if " " in name and not name.startswith('"') else name


def _lines(side: Side | None) -> list[str]:
    """Each with the newline that ends it; a last one without is told apart by that."""
    return [] if side is None else re.findall(r"[^\n]*\n|[^\n]+", side.text)


# --- hunks --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Edit:
    """The lines `old_from:old_to` become the lines `new_from:new_to`; one of the two may be empty."""

    old_from: int
    old_to: int
    new_from: int
    new_to: int


def _hunks(old: Sequence[str], new: Sequence[str], edit_limit: int) -> Iterator[str]:
    near: list[_Edit] = []
    for edit in _edits(old, new, edit_limit):
        if near and edit.old_from - near[-1].old_to > 2 * CONTEXT_LINES:
            yield _hunk(old, new, near)
            near = []
        near.append(edit)
    if near:
        yield _hunk(old, new, near)


def _hunk(old: Sequence[str], new: Sequence[str], edits: Sequence[_Edit]) -> str:
    first, last = edits[0], edits[-1]
    lead = min(CONTEXT_LINES, first.old_from)
    trail = min(CONTEXT_LINES, len(old) - last.old_to)
    parts: list[str] = []
    at = first.old_from - lead
    for edit in edits:
        parts += [" " + line for line in old[at : edit.old_from]]
        parts += ["-" + line for line in old[edit.old_from : edit.old_to]]
        parts += ["+" + line for line in new[edit.new_from : edit.new_to]]
        at = edit.old_to
    parts += [" " + line for line in old[at : at + trail]]
    text = "".join([part if part.endswith("\n") else part + _NO_NEWLINE for part in parts])
    removed = _range(first.old_from - lead, last.old_to + trail)
    added = _range(first.new_from - lead, last.new_to + trail)
    return f"@@ -{removed} +{added} @@\n{text}"


def _range(start: int, stop: int) -> str:
    """Lines count from 1; no lines stand after the one before them."""
    count = stop - start
    return f"{start + 1 if count else start}" + (f",{count}" if count != 1 else "")


# --- which lines changed ------------------------------------------------------------------------------------


def _edits(old: Sequence[str], new: Sequence[str], edit_limit: int) -> Iterator[_Edit]:
    """What changed, in order: as few lines as there can be, or all that is not alike at both ends."""
    shorter = min(len(old), len(new))
    start = next((place for place in range(shorter) if old[place] != new[place]), shorter)
    room = shorter - start
    tail = next((place for place in range(room) if old[-1 - place] != new[-1 - place]), room)
    old_end, new_end = len(old) - tail, len(new) - tail
    old_at = new_at = start
    kept = _kept(*_numbered(old[start:old_end], new[start:new_end]), edit_limit)
    for old_from, new_from, count in [*kept, (old_end - start, new_end - start, 0)]:
        edit = _Edit(old_at, start + old_from, new_at, start + new_from)
        if edit.old_from < edit.old_to or edit.new_from < edit.new_to:
            yield edit
        old_at, new_at = edit.old_to + count, edit.new_to + count


def _numbered(old: Sequence[str], new: Sequence[str]) -> tuple[list[int], list[int]]:
    """Equal lines by equal numbers: those are compared faster."""
    numbers: dict[str, int] = {}
    of_old = [numbers.setdefault(line, len(numbers)) for line in old]
    return of_old, [numbers.setdefault(line, len(numbers)) for line in new]


def _kept(old: Sequence[int], new: Sequence[int], edit_limit: int) -> list[tuple[int, int, int]]:
    """Runs of lines that stay: (where in old, where in new, how many); none where too many lines do not.

    E. W. Myers, An O(ND) Difference Algorithm and Its Variations, 1986. After so many edits, `reached[place]` is
    how far in old one comes on the diagonal 2 · place − edits (where one is in old less where one is in new).
    """
    trace: list[list[int]] = []
    for edits in range(min(edit_limit, len(old) + len(new)) + 1):
        reached: list[int] = []
        for place in range(edits + 1):
            x, _ = _stepped(trace, edits, place)
            y = x - (2 * place - edits)
            while x < len(old) and y < len(new) and old[x] == new[y]:
                x, y = x + 1, y + 1
            reached.append(x)
            if x >= len(old) and y >= len(new):
                return _walked_back([*trace, reached])
        trace.append(reached)
        time.sleep(0)  # lets go of the interpreter: others, who have less to do, come first
    return []


def _stepped(trace: Sequence[Sequence[int]], edits: int, place: int) -> tuple[int, int]:
    """Where in old the last of so many edits leads on a diagonal, and the place of the diagonal it came from."""
    if edits == 0:
        return 0, 0
    before = trace[edits - 1]
    if place == 0 or (place < edits and before[place - 1] < before[place]):
        return before[place], place  # a line of new was added
    return before[place - 1] + 1, place - 1  # a line of old was removed


def _walked_back(trace: Sequence[Sequence[int]]) -> list[tuple[int, int, int]]:
    """The way to where the last diagonal has reached, as the runs on it."""
    runs: list[tuple[int, int, int]] = []
    place = len(trace[-1]) - 1
    for edits in range(len(trace) - 1, -1, -1):
        start, came_from = _stepped(trace, edits, place)
        if (count := trace[edits][place] - start) > 0:
            runs.append((start, start - (2 * place - edits), count))
        place = came_from
    return runs[::-1]
