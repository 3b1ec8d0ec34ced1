"""What a person sees: text, tables, JSON, and a sign of life while they wait.

Results go to stdout, everything else to stderr. To a terminal nothing is printed that could steer it; to a
pipe a result goes exactly as it came.
"""

from __future__ import annotations

import json
import os
import re
import sys
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


def record(fields: Mapping[str, Any]) -> None:
    """Prints an object, one field a line."""
    for name, value in fields.items():
        say(f"{name}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}")


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints rows under headings: aligned on a terminal, else tab-separated lines, the headings first."""
    if not sys.stdout.isatty():
        for row in (headings, *rows):
            print("\t".join(_cell(cell) for cell in row), flush=True)
        return
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None, pad_edge=False)
    for heading in headings:
        grid.add_column(heading, overflow="fold")
    for row in rows:
        grid.add_row(*(Text(_cell(cell)) for cell in row))
    console().print(grid)


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

    console().print(Text.assemble(*parts, no_wrap=True, overflow="ellipsis"))


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
