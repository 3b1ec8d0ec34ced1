"""What a person sees: text, tables, JSON, and a sign of life while they wait.

Results go to stdout, everything else to stderr. To a terminal nothing is printed that could steer it; to a
pipe a result goes exactly as it came.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TextIO

from clawdforge.wire import codec

if TYPE_CHECKING:
    from rich.console import Console

# Control characters but newline and tab, marks that reorder text, and halves of surrogate pairs.
_STEERING: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)

_LEAST_WIDTH: Final = 20  # of a table's last column


def printable(text: str) -> str:
    """A text that a terminal shows instead of obeying: escape sequences become visible signs."""
    return _STEERING.sub(_visible, text.replace("\r\n", "\n"))


def _visible(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)  # Unicode's pictures of control characters: ␛ for ESC
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def say(text: str) -> None:
    """Prints a result."""
    # Not by click.echo: it would take escape sequences out of what goes to a pipe.
    print(printable(text) if sys.stdout.isatty() else text, flush=True)


def note(text: str) -> None:
    """Prints a remark that is no part of the result."""
    print(printable(text), file=sys.stderr, flush=True)


def emit(document: Any) -> None:
    """Prints a result as one JSON document, in ASCII: safe for every terminal, pipe and locale."""
    print(json.dumps(document, allow_nan=False, default=codec.to_json), flush=True)


def hush_if_broken() -> None:
    """Where stdout takes no more, nothing more goes there: else Python would complain once more at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def value_text(value: Any) -> str:
    """A JSON value as a person reads it: a text is itself, the rest is indented JSON."""
    return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)


def time_text(value: Any) -> str:
    """Epoch seconds as UTC, or `-`."""
    if isinstance(value, bool) or not isinstance(value, int):
        return "-"
    try:
        return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    except (OverflowError, OSError, ValueError):
        return str(value)


def clock_text(epoch_s: float) -> str:
    """The time of day where the reader is: `09:43:45`."""
    return time.strftime("%H:%M:%S", time.localtime(epoch_s))


def when_text(value: Any) -> str:
    """Epoch seconds for a list: on a terminal how long ago that was, else `time_text`."""
    return age_text(value, time.time()) if sys.stdout.isatty() else time_text(value)


def age_text(value: Any, now_s: float) -> str:
    """How long ago that was: `now`, `5m`, `3h`, `12d`; what is not past, as UTC."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= now_s:
        return time_text(value)
    minutes = int(now_s - value) // 60
    if minutes < 60:
        return f"{minutes}m" if minutes else "now"
    return f"{minutes // 60}h" if minutes < 48 * 60 else f"{minutes // (24 * 60)}d"


def record(fields: Mapping[str, Any]) -> None:
    """Prints an object, one field a line; on a terminal what is called `…_at` as a time."""
    for name, value in fields.items():
        told = time_text(value) if sys.stdout.isatty() and name.endswith("_at") else value
        say(f"{name}: {told if isinstance(told, str) else json.dumps(told, ensure_ascii=False)}")


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints rows under headings: aligned on a terminal, else tab-separated lines, the headings first.

    On a terminal only the last column is wrapped: no id is torn. Where they do not fit, a row is of several lines.
    """
    cells = [[_cell(cell) for cell in row] for row in (headings, *rows)]
    if not sys.stdout.isatty():
        for row in cells:
            print("\t".join(row), flush=True)
        return
    from rich.cells import cell_len, set_cell_size
    from rich.text import Text

    paper = console()
    *widths, last = [max(map(cell_len, column)) + 2 for column in zip(*cells, strict=True)]
    fits = sum(widths) + min(last - 2, _LEAST_WIDTH) <= paper.width
    indent = sum(widths) if fits else 2
    for number, row in enumerate(cells):
        start = "".join(map(set_cell_size, row, widths)) if fits else f"{row[0]}\n  "
        rest = row[-1] if fits else "  ".join(row[1:])
        wrapped = Text(rest).wrap(paper, max(1, paper.width - indent))
        text = start + ("\n" + " " * indent).join(line.plain.rstrip() for line in wrapped)
        paper.print(Text(text, "" if number else "bold"), soft_wrap=True)


def _cell(text: str) -> str:
    return " ".join(printable(text).split()) or "-"


def can_be_drawn_on(stream: TextIO) -> bool:
    """Whether this is a terminal on which a cursor can be moved."""
    return stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb", "unknown")


def wants_colours(stream: TextIO) -> bool:
    """Whether colours may go there. `NO_COLOR` says no, `FORCE_COLOR` yes; else a terminal has them."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or can_be_drawn_on(stream)


def console(*, stderr: bool = False) -> Console:
    """A way to print with rich, which does what the environment says of colours. Nothing in a text is markup."""
    from rich.console import Console
    from rich.theme import Theme

    # As all of rich's styles for markdown, but without grounds of their own, which suit one kind of terminal only.
    theme = Theme({"markdown.code": "cyan", "markdown.h1": "bold underline", "markdown.block_quote": "dim"})
    # What rich would take for a terminal that can do everything: one that says nothing of itself.
    environment = {**os.environ, "TERM": os.environ.get("TERM") or "dumb"}
    return Console(stderr=stderr, theme=theme, markup=False, emoji=False, highlight=False, _environ=environment)


def line(*parts: tuple[str, str]) -> None:
    """Prints one line on a terminal, in parts with their styles. What is too long for it is cut."""
    from rich.text import Text

    console().print(Text.assemble(*parts), no_wrap=True, overflow="ellipsis")


@contextmanager
def waiting(label: str) -> Iterator[None]:
    """Shows, on a terminal, that something goes on and for how long."""
    if not can_be_drawn_on(sys.stderr):
        yield
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        progress.add_task(printable(label), total=None)
        yield


@contextmanager
def download_bar() -> Iterator[Callable[[str, int, int | None], None]]:
    """Yields a function to be told what is fetched, the bytes done, and all bytes (None: not known)."""
    if not can_be_drawn_on(sys.stderr):
        yield _say_nothing
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bars: dict[str, Any] = {}

        def show(what: str, done_bytes: int, total_bytes: int | None) -> None:
            if what not in bars:
                bars[what] = progress.add_task(printable(what), total=None)
            progress.update(bars[what], completed=done_bytes, total=total_bytes)

        yield show


def _say_nothing(what: str, done_bytes: int, total_bytes: int | None) -> None:
    """A log is no place for a bar."""
