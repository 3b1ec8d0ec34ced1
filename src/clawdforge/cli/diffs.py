"""What a turn changed, and what an agent would, as text: patches, and a list of files. Must not print."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import unified_diff
from typing import TYPE_CHECKING, Final

from clawdforge.wire.diffs import FileDiff, TurnDiff

if TYPE_CHECKING:
    from clawdforge.client.events import ToolDiff

# Comparing takes time that grows with the square of the lines, where they differ much.
_COMPARED_LINES: Final = 2_000
_SIGNS: Final = {"added": "A", "modified": "M", "deleted": "D", "renamed": "R", "mode": "M"}


def patch(diff: TurnDiff) -> str:
    """All patches, one after the other; "" where nothing has one."""
    return "".join(each.patch for each in diff.files if each.patch)


def patch_lines(diff: TurnDiff) -> Iterator[str]:
    """The lines of all patches, to be shown."""
    for each in diff.files:
        yield from (each.patch or "").split("\n")[:-1]


def stat_lines(diff: TurnDiff) -> Iterator[str]:
    """The turn, and its files one a line, with what cannot be seen in their patches."""
    said = [f"turn {diff.turn_index}", _counted(len(diff.files), "file")]
    said += [word for word, is_so in _caveats(diff) if is_so]
    yield ", ".join(said)
    for each in diff.files:
        yield f"  {_SIGNS.get(each.change, '?')} {_name(each)}{_why_no_patch(each)}"


def without_patch(diff: TurnDiff) -> list[str]:
    """The names of those files whose change no patch tells."""
    return [_name(each) + _why_no_patch(each) for each in diff.files if each.patch is None]


def edit_lines(diff: ToolDiff, path: str) -> Iterator[str]:
    """A unified diff of what an agent tells of an edit; of texts too long to be compared, how long they are."""
    old, new = (diff.old_text or "").splitlines(), (diff.new_text or "").splitlines()
    before = "/dev/null" if diff.old_text is None else path
    if max(len(old), len(new)) > _COMPARED_LINES and old:
        return iter((f"--- {before}", f"+++ {path}", f"@@ {len(old)} lines become {len(new)} @@"))
    return unified_diff(old, new, before, path, lineterm="")


def _caveats(diff: TurnDiff) -> list[tuple[str, bool]]:
    return [
        ("so far", diff.running),
        ("as found after the gateway had died in it", diff.late),
        ("and maybe more", diff.truncated),
    ]


def _name(file: FileDiff) -> str:
    return file.path if file.old_path is None else f"{file.old_path} -> {file.path}"


def _why_no_patch(file: FileDiff) -> str:
    if file.patch is not None:
        return ""
    return " (binary)" if file.binary else " (too large to be shown)" if file.too_large else " (no patch)"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
