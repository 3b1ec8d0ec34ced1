"""The table of the leak test: for each level and way to end, what became of each kind of process."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pytest

PROPERTY = "leak"


@dataclass(frozen=True)
class Cell:
    """What became of one kind of process. `left` is true where it ran on until somebody else ended it."""

    level: str
    way: str
    kind: str
    gone_after_ms: int
    left: bool = False

    def as_text(self) -> str:
        return "|".join(map(str, (self.level, self.way, self.kind, self.gone_after_ms, int(self.left))))

    @classmethod
    def read(cls, text: str) -> Cell:
        level, way, kind, gone_after_ms, left = text.split("|")
        return cls(level, way, kind, int(gone_after_ms), left == "1")


def of(reports: Iterable[pytest.TestReport]) -> str:
    """The table, as text; empty where no test of it ran."""
    told = [text for report in reports for name, text in report.user_properties if name == PROPERTY]
    cells = [Cell.read(str(text)) for text in told]
    if not cells:
        return ""
    kinds = list(dict.fromkeys(cell.kind for cell in cells))
    rows = [["level", "ended by", *kinds]]
    for level, way in dict.fromkeys((cell.level, cell.way) for cell in cells):
        found = {cell.kind: cell for cell in cells if (cell.level, cell.way) == (level, way)}
        rows.append([level, way, *(_shown(found.get(kind)) for kind in kinds)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)) for row in rows]
    legend = (
        "Milliseconds from the end until a look from outside found nothing of it, at a next start with that\n"
        "start in them; ! it was still there."
    )
    return "\n".join(["", *lines, "", legend])


def _shown(cell: Cell | None) -> str:
    if cell is None:
        return "-"
    return f"! {cell.gone_after_ms}" if cell.left else str(cell.gone_after_ms)
